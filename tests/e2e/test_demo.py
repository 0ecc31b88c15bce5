"""The demo as a person runs it, with small pictures: four pairs on one page, files that hold, nothing left running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from cli.commands.demo import isolated_environment
from codec.bitstream import RefCoarse, unpack

pytestmark = pytest.mark.timeout(300)

SIZES = {"square.png": (96, 96), "wide.jpg": (160, 90), "tall.png": (75, 150), "tiny.webp": (33, 21)}


def _pictures(folder: Path) -> list[Path]:
    folder.mkdir()
    paths = []
    for seed, (name, size) in enumerate(SIZES.items()):
        noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        paths.append(folder / name)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def _start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    scratch = tmp_path / "tmp"
    scratch.mkdir(exist_ok=True)
    environment = isolated_environment(os.environ) | {"TMPDIR": str(scratch)}
    # Settings of somebody's archive must not reach a demonstration; nothing listens there.
    environment |= {"MISC_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none", "MISC_API_KEYS": "secret"}
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _left_of(pids: set[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_four_pictures_go_there_and_back(tmp_path: Path) -> None:
    sources = _pictures(tmp_path / "in")
    out = tmp_path / "out"

    process = _start(tmp_path, *map(str, sources), "--out", str(out))
    family: set[int] = set()
    while process.poll() is None:
        family |= {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        time.sleep(0.2)
    stdout, stderr = process.communicate()

    assert process.returncode == 0, stderr
    page = (out / "index.html").read_text()
    assert page.count('<section class="pair">') == 4
    assert page.count("data:image/jpeg;base64,") == 8
    for name, size in SIZES.items():
        stem = Path(name).stem
        with Image.open(out / f"{stem}.png") as back:
            assert back.size == size
        unpacked = unpack((out / f"{stem}.misc").read_bytes())
        assert (unpacked.stream.width, unpacked.stream.height) == size
        assert isinstance(unpacked.stream.coarse, RefCoarse)
        written = (out / f"{stem}.png").read_bytes()
        assert b"trainedAlgorithmicMedia" in written and b"profile lite" in written
        assert name in stdout
    assert "4 of 4 pictures" in stdout
    assert "painted by a decoder (gan)" in page
    assert len(family) >= 5
    assert _left_of(family) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_picture_that_cannot_be_used_is_named_and_the_others_arrive(tmp_path: Path) -> None:
    good = _pictures(tmp_path / "in")[0]
    bad = tmp_path / "in" / "letter.jpg"
    bad.write_text("Dear Sir or Madam")
    out = tmp_path / "out"

    process = _start(tmp_path, str(good), str(bad), "--out", str(out))
    stdout, stderr = process.communicate(timeout=120)

    assert process.returncode == 1
    assert f"{bad}: " in stderr
    assert "1 of 2 pictures" in stdout
    assert (out / "index.html").read_text().count('<section class="pair">') == 1


def test_path_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    process = _start(tmp_path, str(tmp_path / "nowhere.jpg"))
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "nowhere.jpg" in stderr


def test_stopped_demo_leaves_neither_processes_nor_files(tmp_path: Path) -> None:
    sources = _pictures(tmp_path / "in")
    process = _start(tmp_path, *map(str, sources), "--out", str(tmp_path / "out"))
    family: list[psutil.Process] = []
    while len(family) < 5:
        family = psutil.Process(process.pid).children(recursive=True)
        assert process.poll() is None
        time.sleep(0.05)

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)

    assert process.returncode == 128 + signal.SIGTERM
    assert _left_of({member.pid for member in family}) == []
    assert list((tmp_path / "tmp").iterdir()) == []
