"""The command in processes: what it imports, and folders that several processes encode."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

from cli.local.file_plan import Pair, died_result, run_all
from codec.bitstream import PixelCoarse, Stream
from codec.bitstream.container import pack
from tests.unit.cli.conftest import write_photo

Misc = Callable[..., Result]
QUICK = ("--mode", "pixel", "--describe", "none", "--blocks", "8")

BLOCKED = """
import sys

sys.modules["torch"] = None
from cli.main import build_app
from typer.testing import CliRunner

result = CliRunner().invoke(build_app(), ["eval", sys.argv[1]])
print(result.exit_code, result.stderr)
"""


def test_help_and_inspect_load_no_heavy_library(tmp_path: Path) -> None:
    coarse = PixelCoarse(4, 3, 3, bytes(36))
    (tmp_path / "a.misc").write_bytes(pack(Stream(40, 30, coarse)).data)
    heavy = ("torch", "skimage", "scipy", "PIL", "sqlalchemy", "celery", "fastapi", "boto3")
    program = (
        "import sys; from cli.main import build_app\n"
        "try: build_app()(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"sys.stderr.write(','.join(m for m in {heavy!r} if m in sys.modules))"
    )
    for words in (["--help"], ["inspect", str(tmp_path / "a.misc")]):
        ran = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        assert ran.stderr == "" and ran.stdout != ""


def test_without_the_libraries_it_says_what_to_install(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCKED, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert ended.stdout.startswith("2 "), ended.stdout + ended.stderr
    assert "misc-archive[eval]" in ended.stdout


def test_folder_becomes_a_folder_with_relative_paths(misc: Misc, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "deep/er/b.jpg", "same.png", "same.jpg", ".hidden/c.png"):
        write_photo(source / name)
    (source / "notes.txt").write_text("no picture")
    result = misc("encode", source, "-o", out, *QUICK)
    assert result.exit_code == 0, result.stderr
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    records = ".misc-sources.jsonl"
    assert written == [records, "a.misc", "deep/er/b.misc", "same.jpg.misc", "same.png.misc"]


def test_several_processes_give_the_same_files_as_one(misc: Misc, tmp_path: Path) -> None:
    source = tmp_path / "in"
    for number in range(3):
        write_photo(source / f"{number}.png", 80 + number)
    for jobs in ("1", "2"):
        assert misc("encode", source, "-o", tmp_path / jobs, *QUICK, "--jobs", jobs).exit_code == 0
    for number in range(3):
        one, two = ((tmp_path / jobs / f"{number}.misc").read_bytes() for jobs in ("1", "2"))
        assert one == two


def work(number: int) -> dict[str, Any]:
    if number == 2:
        os._exit(9)
    return {"number": number, "error": None}


def test_killed_process_fails_its_own_input_only() -> None:
    pair = Pair(Path("in.png"), Path("out.misc"))
    results = run_all(work, [0, 1, 2, 3, 4], 2, "Working", lambda number: died_result(pair, ("bytes",)))
    assert [result.get("number") for result in results] == [0, 1, None, 3, 4]
    assert results[2]["error"]["code"] == "out_of_memory" and results[2]["bytes"] is None
