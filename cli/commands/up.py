"""`misc up`: the whole service on this machine until Ctrl-C. Only the words; `stack` does the work."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import FAILED, fail_usage
from cli.local.paths import data_folder
from cli.output import nothing_told, say, told_now_and_then

_HELP = """Run the whole service on this machine: API, workers, Redis, and a data folder. Ctrl-C ends it.

Parts can lie elsewhere: set MISC_DATABASE_URL, MISC_BROKER_URL or MISC_STORAGE_BACKEND before.

Example: misc up --port 8000 --data ~/misc-data
"""

READY_SECONDS = 120.0
"""How long a start may take on a slow machine, PyTorch's import included; usually it is some seconds."""

_READY_WITH_NETWORKS_SECONDS = 900.0
"""The same where networks of several gigabytes are hashed, loaded and run once before a worker is ready."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up", help=_HELP)(up)


def up(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the API on 127.0.0.1; 0 takes a free one.")
    ] = 8000,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="MISC_DATA", help="Folder that keeps everything.")
    ] = None,
    encode_workers: Annotated[int, typer.Option(min=1, help="Encode worker processes.")] = 1,
    decode_workers: Annotated[int, typer.Option(min=1, help="Decode worker processes.")] = 1,
) -> None:
    """Run until a signal; the help text is `_HELP`."""
    from cli.local.networks import takes_minutes_to_load
    from cli.server.client import ClientError
    from cli.up.data_folder import StackError
    from cli.up.stack import EmbeddedStack

    started = time.monotonic()
    try:
        stack = EmbeddedStack(
            data or data_folder(),
            port,
            encode_workers=encode_workers,
            decode_workers=decode_workers,
            on_event=lambda event, name: say(f"misc: {name} ended and was {event}; its log is {stack.logs / name}.log"),
        )
    except StackError as error:
        raise fail_usage(str(error)) from None
    stop = catch_signals(stack)
    try:
        try:
            with told_now_and_then(lambda: f"waiting for {stack.waits_for} ({time.monotonic() - started:.0f} s)"):
                stack.start()
                patience = _READY_WITH_NETWORKS_SECONDS if takes_minutes_to_load() else READY_SECONDS
                stack.wait_ready(patience, interrupted=stop.is_set)
            if not stop.is_set():
                _say_where(stack.base_url, stack.data, stack.logs, time.monotonic() - started)
            with nothing_told():
                stop.wait()
            say("misc: ending ...")
        except (StackError, ClientError) as error:
            say(f"misc: {error}")
            raise typer.Exit(FAILED) from None
    finally:
        ended = time.monotonic()
        stack.stop()
        if stop.is_set():
            say(f"misc: everything has ended ({time.monotonic() - ended:.1f} s)")


def catch_signals(stack: object) -> threading.Event:
    """An event that the first SIGINT, SIGTERM or SIGHUP sets; a second one ends the children of `stack` at once."""
    stop = threading.Event()

    def _on_signal(_number: int, _frame: object) -> None:
        if stop.is_set():
            supervisor = getattr(stack, "supervisor", None)
            for pid in supervisor.pids.values() if supervisor is not None else ():
                os.killpg(pid, signal.SIGKILL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    return stop


def _say_where(address: str, data: Path, logs: Path, seconds: float) -> None:
    say(
        f"misc: ready after {seconds:.1f} s at {address} (API at {address}/docs)\n"
        f"      data in {data}, logs in {logs}\n"
        f"      try: misc push photo.jpg --server {address}\n"
        "      Ctrl-C ends everything."
    )
