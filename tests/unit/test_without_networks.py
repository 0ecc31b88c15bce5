"""The defaults need no network's library: workers and commands run where PyTorch is not installed."""

import subprocess
import sys
from pathlib import Path

from tests.unit.cli.conftest import write_photo

PROGRAM = """
import importlib.abc, sys

BLOCKED = {"torch", "torchvision", "diffusers", "transformers", "compressai", "safetensors", "clip", "ftfy"}

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
import workers.process, workers.encode.work, workers.decode.work
from cli.main import build_app
from typer.testing import CliRunner

photo, stream, picture = sys.argv[1:]
for words in (["encode", photo, "-o", stream], ["decode", stream, "-o", picture]):
    result = CliRunner().invoke(build_app(), words)
    assert result.exit_code == 0, result.output
print("ran")
"""


def test_encoding_and_decoding_run_without_the_libraries_for_networks(tmp_path: Path) -> None:
    photo, stream, picture = tmp_path / "photo.png", tmp_path / "photo.misc", tmp_path / "back.png"
    write_photo(photo)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(photo), str(stream), str(picture)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.stdout.endswith("ran\n"), ended.stdout + ended.stderr
    assert picture.stat().st_size > 0
