"""The lines of the tutorial and of the README, typed as they stand there, one after the other."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cli.commands.demo import isolated_environment, scikit_photos
from cli.up.stack import EmbeddedStack
from codec.bitstream import unpack

ROOT = Path(__file__).resolve().parents[2]

_DATA = ("misc-data", "restored")

pytestmark = [
    pytest.mark.timeout(1000),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Somebody's who has just activated the environment."""
    home = tmp_path / "home"
    folders = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("DATA", "STATE", "CACHE", "CONFIG")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return isolated_environment(os.environ) | folders | {"PATH": path, "PYTHONPATH": str(ROOT)}


def blocks(page: Path, language: str = "") -> list[str]:
    """What stands between the fences of a page."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [lines for kind, lines in fenced if kind == language]


def typed(lines: str, folder: Path, environment: dict[str, str]) -> str:
    """What a shell says to these lines; the first that fails ends it, and the test."""
    folder.mkdir(exist_ok=True)
    log = folder / "typed.log"
    with log.open("w") as file:
        # A group of its own: a service that an early end leaves in the background must not outlive the test.
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-xc", lines],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = shell.wait(900)
        finally:
            subprocess.run(["kill", "--", f"-{shell.pid}"], stderr=subprocess.DEVNULL, check=False)
            shell.wait(30)
    assert status == 0, log.read_text()[-3000:]
    return log.read_text()


def with_free_port(lines: str) -> str:
    """The lines themselves, or with another port where somebody has theirs."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if port == 8000:
        return lines
    return f"export MISC_SERVER=http://127.0.0.1:{port}\n" + lines.replace(":8000", f":{port}").replace(
        "misc up ", f"misc up --port {port} "
    )


def test_tutorial_is_true_line_by_line(tmp_path: Path, environment: dict[str, str]) -> None:
    parts = blocks(ROOT / "docs" / "tutorial.md", "sh")
    assert len(parts) > 8
    folder = tmp_path / "work"
    said = typed(with_free_port("\n".join(parts)), folder, environment)

    sizes = {path.name: Image.open(path).size for path in (folder / "photos").iterdir()}
    with Image.open(folder / "coffee-back.png") as back:
        assert back.size == sizes["coffee.png"]
    assert "restorer            gan" in said
    assert [path.name for path in sorted((folder / "archive").glob("*.misc"))] == [
        "astronaut.misc", "chelsea.misc", "coffee.misc"
    ]  # fmt: skip
    assert (folder / "archive.csv").read_text().count(",yes,") == 3
    for path in (folder / "smaller").glob("*.misc"):
        stream = unpack(path.read_bytes()).stream
        assert 8 * path.stat().st_size <= 0.02 * stream.width * stream.height
    assert len(list((folder / "back").iterdir())) == 6
    kept, restored = ({path.name for path in (folder / data / "objects").rglob("*.misc")} for data in _DATA)
    assert len(kept) == 6 and restored == kept
    assert {path.read_bytes() for path in (folder / "streams").iterdir()} >= {
        path.read_bytes() for path in (folder / "smaller").glob("*.misc")
    }


def test_curl_lines_of_the_readme_work_one_after_the_other(tmp_path: Path, environment: dict[str, str]) -> None:
    (lines,) = (block for block in blocks(ROOT / "README.md") if block.startswith("misc=http"))
    folder = tmp_path / "work"
    folder.mkdir()
    with Image.open(scikit_photos()[0]) as photo:
        photo.convert("RGB").save(folder / "photo.jpg")
    with EmbeddedStack(tmp_path / "data", 0, environment=isolated_environment(os.environ)) as stack:
        stack.wait_ready()
        typed(lines.replace("http://127.0.0.1:8000", stack.base_url), folder, environment)
    (stream,) = folder.glob("*.misc")
    assert unpack(stream.read_bytes()).stream.width == 512
    with Image.open(folder / "back.webp") as back:
        assert (back.format, back.size) == ("WEBP", (512, 512))
