"""`-` as an input or output of the command: stdin and stdout. Pipes that have a name are read whole as well."""

import errno
import os
import select
import stat
import sys
from pathlib import Path
from typing import IO

from cli.output import told_now_and_then
from codec.atomic_files import is_special, write_atomically
from codec.errors import OptionError, PictureTooLarge

STANDARD = Path("-")
"""What names stdin as an input and stdout as an output."""

_MAX_INPUT_BYTES = 1 << 30
"""What is not in a file has to be kept in memory; no picture of 100 megapixels is larger."""


_WRITER_SECONDS = 10


def read_input(path: Path, *, max_bytes: int = _MAX_INPUT_BYTES) -> Path | bytes:
    """The file's path, or the bytes of what cannot be read twice. Raises OSError and PictureTooLarge."""
    if path != STANDARD and not is_special(path):
        return path
    if path == STANDARD:
        with told_now_and_then(lambda: "reading stdin ..."):
            data = sys.stdin.buffer.read(max_bytes + 1)
    else:
        with _opened(path) as file:
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise PictureTooLarge(f"More than {max_bytes} bytes came from {path}; put them into a file.")
    return data


def _opened(path: Path) -> IO[bytes]:
    """The pipe or device; raises OSError for a pipe in a folder, called like a picture, into which nobody writes."""
    is_named = (
        stat.S_ISFIFO(path.stat().st_mode) and not path.is_relative_to("/dev") and not path.is_relative_to("/proc")
    )
    if not is_named:
        return path.open("rb")
    # Opened plainly, it would wait for a writer for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not select.select([descriptor], [], [], _WRITER_SECONDS)[0]:
        os.close(descriptor)
        raise OSError(errno.ETIMEDOUT, f"it is a pipe into which nobody wrote for {_WRITER_SECONDS} s", str(path))
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def write_output(path: Path, data: bytes) -> None:
    """Write a file whole, or to stdout. Raises OSError."""
    if path != STANDARD:
        write_atomically(path, data)
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def check_streams(sources: list[Path], out: str, *, as_json: bool) -> None:
    """Raise OptionError where stdin or stdout would have two uses."""
    if sources.count(STANDARD) and len(sources) > 1:
        raise OptionError("- is one input from stdin and stands alone; name the others in another call.")
    if out == str(STANDARD) and as_json:
        raise OptionError("-o - and --json would both write to stdout; write the file to a name.")
    if out == str(STANDARD) and (len(sources) != 1 or sources[0].is_dir()):
        raise OptionError("-o - is one output to stdout; several inputs or a folder need a folder as their output.")
