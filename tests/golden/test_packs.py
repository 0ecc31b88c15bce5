"""Packs that version 1 once wrote, and the reader that docs/packs.md prints: both get every file out, for ever.

Each NAME.pack has a NAME.json with the size of each member. Neither ever changes.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.archive.packs import pack_file
from core.archive.packs.pack_file import PackWriter
from core.storage.keys import pack_key
from core.storage.local import LocalStorage

FOLDER = Path(__file__).parent / "packs"
FILES = sorted(FOLDER.glob("*.pack"))
PAGE = Path(__file__).parents[2] / "docs" / "packs.md"
MOST_LINES = 60


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program on the page."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert program.count("\n") <= MOST_LINES
    path: Path = tmp_path_factory.mktemp("reader") / "reader.py"
    path.write_text(program)
    return path


def _read(reader: Path, pack: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", reader, pack, folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=reader.parent, check=False)


def _sizes(folder: Path) -> dict[str, int]:
    """Sizes by name of all files, each of which has the digest that it is named by."""
    files = list(folder.iterdir())
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.stem for path in files)
    return {path.name: path.stat().st_size for path in files}


def _described(path: Path) -> dict[str, int]:
    sizes: dict[str, int] = json.loads(path.with_suffix(".json").read_text())
    return sizes


def test_there_are_golden_packs() -> None:
    assert [path.stem for path in FILES] == ["one-stream", "streams-and-records"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_pack_is_read_by_the_lines_of_the_page(path: Path, reader: Path, tmp_path: Path) -> None:
    outcome = _read(reader, path, tmp_path / "out")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert _sizes(tmp_path / "out") == _described(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_pack_is_read_and_written_by_this_version(path: Path, tmp_path: Path) -> None:
    assert path.read_bytes().startswith(pack_file.HEADER)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    key = pack_key(sha256)
    storage = LocalStorage(tmp_path / "objects")
    storage.put(key, path, content_type="", sha256=sha256)
    members = pack_file.read_index(storage, key)
    assert {member.key.partition("/")[2]: member.size_bytes for member in members} == _described(path)
    again = tmp_path / "again.pack"
    with again.open("wb") as file:
        writer = PackWriter(file)
        for member, data in pack_file.read_members(storage, key, members):
            writer.add(member.key, data)
        assert writer.finish() == sha256
    assert again.read_bytes() == path.read_bytes()


def test_fresh_pack_is_read_by_the_lines_of_the_page(reader: Path, tmp_path: Path) -> None:
    streams = sorted(Path(__file__).parent.glob("*.misc"))
    with (tmp_path / "fresh.pack").open("wb") as file:
        writer = PackWriter(file)
        for stream in streams:
            data = stream.read_bytes()
            writer.add(f"bitstreams/{hashlib.sha256(data).hexdigest()}.misc", data)
        writer.finish()
    outcome = _read(reader, tmp_path / "fresh.pack", tmp_path / "out")
    assert outcome.stdout == f"{len(streams)} of {len(streams)} files\n"
    assert sorted(_sizes(tmp_path / "out").values()) == sorted(stream.stat().st_size for stream in streams)


def test_lines_of_the_page_tell_a_damaged_member_and_save_the_others(reader: Path, tmp_path: Path) -> None:
    pack = tmp_path / "damaged.pack"
    shutil.copy(FOLDER / "streams-and-records.pack", pack)
    data = bytearray(pack.read_bytes())
    data[len(pack_file.HEADER)] ^= 1
    pack.write_bytes(data)
    outcome = _read(reader, pack, tmp_path / "out")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("damaged: bitstream ")
    assert len(_sizes(tmp_path / "out")) == len(_described(FOLDER / "streams-and-records.pack")) - 1
