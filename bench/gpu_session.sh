#!/usr/bin/env bash
# All that a GPU has to show of the decoder, in ten minutes at most: figures (JSON), plots and tables in $OUT.
#
#   bench/gpu_session.sh           on the machine with the GPU, after `make setup`
#   bench/gpu_session.sh --tiny    the same parts with tiny networks on a processor, in a few minutes at most
#
# OUT is ./gpu-session and PYTHON .venv/bin/python unless they are set. Nothing is installed or fetched: weights are
# random. Each part has a time limit of its own and keeps what it measured until then; a part that fails stops no other.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OUT=${OUT:-gpu-session}
PYTHON=${PYTHON:-.venv/bin/python}
SESSION_SECONDS=590
mkdir -p "$OUT"

# part NAME SECONDS COMMAND...: its output goes to NAME.txt, how it ended to session.txt.
part() {
  local name=$1 limit=$2 left status=0 begun=$SECONDS
  shift 2
  # Ten seconds are for the summary, and for whoever has to be killed.
  left=$((SESSION_SECONDS - SECONDS - 10))
  limit=$((limit < left ? limit : left))
  if ((limit < 5)); then
    echo "$name: no time left" | tee -a "$OUT/session.txt"
    return
  fi
  timeout --kill-after=3 "$limit" "$@" >"$OUT/$name.txt" 2>&1 || status=$?
  echo "$name: status $status after $((SECONDS - begun)) s (limit $limit s)" | tee -a "$OUT/session.txt"
}

decode() {
  local name=$1 limit=$2
  shift 2
  part "$name" "$limit" "$PYTHON" -m bench.decode "$@" --json "$OUT/$name.json"
}

: >"$OUT/session.txt"
if [[ ${1:-} == --tiny ]]; then
  tiny=(--networks tiny --size 64 --requests 2 --steps 2 --half float32 --device cpu)
  decode stages 120 --stages "${tiny[@]}"
  decode staged-512 200 --schedule staged "${tiny[@]}" --load --plot "$OUT/staged-512.png"
  decode fast-512 120 --ways half engine --load 0.8 "${tiny[@]}" --plot "$OUT/fast-512.png"
else
  nvidia-smi >"$OUT/device.txt" 2>&1
  full=(--networks full --device cuda)
  part tests 75 "$PYTHON" -m pytest -q tests/gpu
  decode stages 30 --stages "${full[@]}" --size 512
  decode staged-512 130 --schedule staged --requests 16 --graphs "${full[@]}" --size 512 --load --plot "$OUT/staged-512.png"
  decode fast-512 110 --requests 32 --graphs "${full[@]}" --size 512 --load 0.8 2 --plot "$OUT/fast-512.png"
  decode fast-1024 70 --ways half engine --requests 8 --graphs "${full[@]}" --size 1024 --load --plot "$OUT/fast-1024.png"
  decode staged-512-compiled 130 --ways engine --schedule staged --requests 16 --compile --graphs "${full[@]}" --size 512 --load
fi
timeout --kill-after=2 8 "$PYTHON" -m bench.decode.summary "$OUT" | tee "$OUT/summary.txt"
