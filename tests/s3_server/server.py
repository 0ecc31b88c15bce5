"""Swift's proxy, account, container and object servers in one process, speaking S3 on loopback.

Runs under the Python of `.venv-swift`, as `server.py FOLDER PORT` (0 takes a free one), prints `serving PORT`, and
ends when the process that started it does, clearing its folder away. After a kill, what it stored is there again when
it is started on the same folder.
"""

# ruff: noqa: E402, T201

import eventlet

eventlet.monkey_patch()

import os
import shutil
import sys
from pathlib import Path

from eventlet import wsgi
from eventlet.green import socket

ACCESS_KEY, SECRET_KEY, REGION = "test:tester", "testing", "us-east-1"
_BACK = ("account", "container", "object")
_PIPELINE = [
    "catch_errors",
    "gatekeeper",
    "healthcheck",
    "listing_formats",
    "s3api",
    "tempauth",
    "copy",
    "slo",
    "dlo",
    "versioned_writes",
    "symlink",
]
_OPTIONS = {
    "s3api": f"location = {REGION}",
    "tempauth": f"user_{ACCESS_KEY.replace(':', '_')} = {SECRET_KEY} .admin",
    "versioned_writes": "allow_versioned_writes = true\nallow_object_versioning = true",
}


def main() -> None:
    """Write the configuration and the rings, then serve until the parent is gone."""
    parent = os.getppid()
    folder, port = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    etc, data = folder / "etc", folder / "data"
    etc.mkdir(parents=True, exist_ok=True)
    (data / "disk").mkdir(parents=True, exist_ok=True)
    # The sockets come first, since the rings name the ports of the servers behind the proxy.
    sockets = {name: _listen(0) for name in _BACK}
    sockets["proxy"] = _listen(port)
    _configure(etc, data)
    _make_rings(etc, {name: sockets[name].getsockname()[1] for name in _BACK})
    for name, sock in sockets.items():
        eventlet.spawn(_serve, name, sock, etc)
    # A first pass of the loop, so that a server that cannot start says so before anybody is told to come.
    eventlet.sleep(0.05)
    print(f"serving {sockets['proxy'].getsockname()[1]}", flush=True)
    while os.getppid() == parent:
        eventlet.sleep(0.5)
    # Nobody is left to clear it away, and it may lie in memory.
    shutil.rmtree(folder, ignore_errors=True)


def _listen(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # For a restart on the same port: connections of the server that was killed linger on it.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(512)
    return sock


def _configure(etc: Path, data: Path) -> None:
    # Swift keeps metadata in extended attributes, of which ext4 holds 4 KB a file.
    (etc / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = t\nswift_hash_path_prefix = t\n"
        "[storage-policy:0]\nname = default\ndefault = yes\n"
        "[swift-constraints]\nmax_meta_value_length = 2048\n"
    )
    default = (
        f"[DEFAULT]\nswift_dir = {etc}\ndevices = {data}\nmount_check = false\n"
        "disable_fallocate = true\nlog_level = WARNING\n"
    )
    for name in _BACK:
        (etc / f"{name}-server.conf").write_text(
            f"{default}[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
        )
    # A single disk that failed once must not be shunned for a minute by the rest of the tests.
    filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n{_OPTIONS.get(name, '')}\n" for name in _PIPELINE)
    (etc / "proxy-server.conf").write_text(
        f"{default}[pipeline:main]\npipeline = {' '.join(_PIPELINE)} proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
        f"error_suppression_limit = 1000000\n{filters}"
    )


def _make_rings(etc: Path, ports: dict[str, int]) -> None:
    import swift.common.utils

    # Has to come before other modules of Swift are imported: they read swift.conf while they are.
    swift.common.utils.set_swift_dir(str(etc))
    from swift.common.ring import RingBuilder

    for name, port in ports.items():
        builder = RingBuilder(2, 1, 0)  # 4 partitions, one replica, no wait between changes
        place = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
        builder.add_dev({"region": 1, "zone": 1, "device": "disk", "weight": 1.0, "meta": "", **place})
        builder.rebalance()
        builder.get_ring().save(str(etc / f"{name}.ring.gz"))


def _serve(name: str, sock: socket.socket, etc: Path) -> None:
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.wsgi import loadapp

    app = loadapp(str(etc / f"{name}-server.conf"), global_conf={"log_name": name})
    wsgi.server(sock, app, log_output=False, protocol=SwiftHttpProtocol, capitalize_response_headers=False)


if __name__ == "__main__":
    main()
