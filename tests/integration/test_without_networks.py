"""Where PyTorch is not installed: encoding by default runs, and painting by default says how to install it."""

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
import workers.process, workers.encode.handler, workers.decode.handler
from cli.main import build_app
from typer.testing import CliRunner

def misc(*words):
    return CliRunner().invoke(build_app(), words)

photo, stream, picture, painted = sys.argv[1:]
for words in (["encode", photo, "-o", stream], ["decode", stream, "-o", picture, "--restorer", "smooth"]):
    result = misc(*words)
    assert result.exit_code == 0, result.output
refused = misc("decode", stream, "-o", painted)
assert (refused.exit_code, refused.stdout) == (1, ""), refused.output
assert len(refused.stderr.splitlines()) == 1, refused.stderr
assert "Restoring by networks needs PyTorch" in refused.stderr and "pip install 'misc-archive[nets]'" in refused.stderr
print("ran")
"""


def test_defaults_encode_without_the_libraries_for_networks_and_painting_says_how_to_install_them(
    tmp_path: Path,
) -> None:
    photo, stream, picture, painted = (tmp_path / name for name in ("photo.png", "photo.misc", "a.png", "b.png"))
    write_photo(photo, 320, 240)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *map(str, (photo, stream, picture, painted))],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.stdout.endswith("ran\n"), ended.stdout + ended.stderr
    assert picture.stat().st_size > 0
    assert not painted.exists()
