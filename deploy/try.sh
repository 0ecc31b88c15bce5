#!/usr/bin/env bash
# Builds the images of the Dockerfile and runs them as compose.yaml hardens them: a picture in, a picture out.
#
#   deploy/try.sh            as root, on Debian, after
#                            apt-get install --no-install-recommends podman buildah runc catatonit mmdebstrap
#
# The base is made here from Debian's packages, so that no registry of images is needed; PostgreSQL, Redis and an S3
# server come from the Python packages of the tests. Containers share this machine's network, so what compose.yaml says
# about networks is not tried. Takes about half an hour the first time, and 20 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."

DEBIAN=bookworm   # its Python is 3.11, which the tests run with
BASE=localhost/misc-archive-python
BUILD=(podman build --quiet --format docker --isolation chroot --network host --ulimit nofile=4096:4096)

for program in podman runc mmdebstrap; do
  command -v "$program" >/dev/null || { echo "try.sh: $program is missing; see the top of this file" >&2; exit 2; }
done
[ -e .venv/installed-dev ] || make --no-print-directory .venv/installed-dev

# How this machine reaches its package index is part of the build, and not of the images.
for path in /etc/pip.conf /etc/xdg/pip /root/.config/pip /etc/ssl/certs; do
  if [ -e "$path" ]; then BUILD+=(--volume "$path:$path:ro"); fi
done

if ! podman image exists "$BASE"; then
  echo "try.sh: making a base of Debian $DEBIAN"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
    --customize-hook='ln -s python3 "$1/usr/bin/python"' \
    --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' \
    "$DEBIAN" "$folder/base.tar"
  podman import --quiet "$folder/base.tar" "$BASE" >/dev/null
fi

for target in api encode decode; do
  started=$SECONDS
  "${BUILD[@]}" --build-arg "PYTHON_IMAGE=$BASE" --target "$target" --tag "localhost/misc-archive-$target" \
    --file deploy/Dockerfile . >/dev/null
  bytes=$(podman image inspect --format '{{.Size}}' "localhost/misc-archive-$target")
  printf 'try.sh: built %-6s %6d MB in %d s\n' "$target" "$((bytes / 1000000))" "$((SECONDS - started))"
done
base_bytes=$(podman image inspect --format '{{.Size}}' "$BASE")
echo "try.sh: $((base_bytes / 1000000)) MB of each are the base"

PYTHONPATH=. .venv/bin/python deploy/try_images.py
