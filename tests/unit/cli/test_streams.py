"""Inputs and outputs of the command that are no plain files: stdin, stdout, devices, pipes, links, longest names."""

import io
import os
import stat
import threading
from pathlib import Path

import pytest
from PIL import Image

from cli.local.file_plan import plan_outputs
from codec.atomic_files import is_special, write_atomically
from codec.bitstream import unpack

QUICK = ("--mode", "pixel", "--blocks", "8", "--text", "A slope.")


def test_a_device_as_output_is_written_to_and_stays_a_device(misc, photo: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("making a device needs root")
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert misc("encode", photo, "-o", device, *QUICK).exit_code == 0
    assert stat.S_ISCHR(device.stat().st_mode)
    stream = tmp_path / "a.misc"
    misc("encode", photo, "-o", stream, *QUICK)
    result = misc("decode", stream, "-o", device, "--restorer", "smooth")
    assert result.exit_code == 0, result.stderr
    assert stat.S_ISCHR(device.stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.misc", "null", "photo.png"]


def test_a_pipe_as_output_gets_the_bytes_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"all of it")
    reader.join(10)
    assert received == [b"all of it"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_as_output_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link.misc", tmp_path / "there" / "real.misc"
    link.symlink_to("there/real.misc")
    for data in (b"first", b"second"):  # a link to nothing, then to a file
        write_atomically(link, data)
        assert link.is_symlink() and target.read_bytes() == data
    assert [path.name for path in target.parent.iterdir()] == ["real.misc"]


def test_a_link_to_itself_stays_and_is_told(tmp_path: Path) -> None:
    link = tmp_path / "loop.misc"
    link.symlink_to("loop.misc")
    with pytest.raises(OSError, match="leads to itself"):
        write_atomically(link, b"data")
    assert link.is_symlink()


def test_errors_name_the_output_and_not_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    for target in (tmp_path / "full", Path("/proc/none.misc")):
        with pytest.raises(OSError) as caught:
            write_atomically(target, b"data")
        assert str(caught.value.filename) == str(target)


def test_who_may_read_an_output_stays_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "a.misc"
    write_atomically(target, b"first")
    target.chmod(0o600)
    write_atomically(target, b"second")
    assert (stat.S_IMODE(target.stat().st_mode), target.read_bytes()) == (0o600, b"second")


def test_another_process_open_file_is_written_through(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as file:
        link = tmp_path / "stdout"
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        assert is_special(link)


def test_names_as_long_as_a_file_system_takes_are_written(tmp_path: Path) -> None:
    for name in ("x" * 250 + ".misc", "ü" * 125 + ".misc"):
        target = tmp_path / name
        write_atomically(target, b"data")
        assert target.read_bytes() == b"data"
    # ".misc" is longer than ".png", and the name was full.
    sources = [Path("in") / (letter * 251 + ".png") for letter in "ab"]
    pairs = plan_outputs(sources, str(tmp_path), {".png"}, ".misc").pairs
    assert len({pair.target for pair in pairs}) == 2
    for pair in pairs:
        write_atomically(pair.target, b"data")
        assert pair.target.suffix == ".misc" and len(os.fsencode(pair.target.name)) <= 255


def test_picture_from_stdin_and_stream_to_stdout(misc, photo: Path, tmp_path: Path) -> None:
    misc("encode", photo, "-o", tmp_path / "a.misc", *QUICK)
    expected = (tmp_path / "a.misc").read_bytes()
    result = misc("encode", "-", "-o", "-", *QUICK, input=photo.read_bytes())
    assert result.exit_code == 0, result.stderr
    assert result.stdout_bytes == expected
    inspected = misc("inspect", "-", input=expected)
    assert inspected.exit_code == 0 and "90x60" in inspected.stdout
    decoded = misc("decode", "-", "-o", "-", "--restorer", "smooth", "--format", "png", input=expected)
    assert decoded.exit_code == 0, decoded.stderr
    assert Image.open(io.BytesIO(decoded.stdout_bytes)).size == (90, 60)


def test_a_pipe_is_read_as_a_picture(misc, photo: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "camera.png"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(photo.read_bytes()))
    writer.start()
    result = misc("encode", pipe, "-o", tmp_path / "a.misc", *QUICK)
    writer.join(10)
    assert result.exit_code == 0, result.stderr
    assert unpack((tmp_path / "a.misc").read_bytes()).stream.width == 90


@pytest.mark.parametrize(
    "call",
    [
        ("encode", "-", "-o", "-", "--json"),
        ("encode", "-", "x.png", "-o", "out"),
        ("encode", "-", "-o", "out/"),
        ("encode", "a.png", "b.png", "-o", "-"),
    ],
)
def test_two_uses_of_one_stream_are_wrong_usage(misc, call: tuple[str, ...]) -> None:
    result = misc(*call, input=b"")
    assert result.exit_code == 2 and "std" in result.stderr
