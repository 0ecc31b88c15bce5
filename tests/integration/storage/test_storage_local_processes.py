"""The local folder as other processes use it, and leave it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import ObjectNotFound
from core.storage.keys import original_key
from core.storage.local import LocalStorage


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_settings_open_a_folder_without_the_vendors_library(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from core.settings import StorageSettings\n"
        "from core.storage import open_storage\n"
        "open_storage(StorageSettings(path=pathlib.Path(sys.argv[1]))).check()\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "new" / "folder"], cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_writer_killed_in_the_middle_leaves_no_object_and_its_rest_is_cleared_after_a_day(tmp_path: Path) -> None:
    script = (
        "import hashlib, os, pathlib, sys\n"
        "from core.storage.keys import original_key\n"
        "from core.storage.local import LocalStorage\n"
        "storage = LocalStorage(pathlib.Path(sys.argv[1]))\n"
        "storage.put(original_key('img_1'), pathlib.Path(sys.argv[2]), content_type='image/png', sha256='0' * 64)\n"
    )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    objects = tmp_path / "objects"
    writer = subprocess.Popen([sys.executable, "-c", script, objects, pipe], cwd=Path(__file__).parents[3])
    with pipe.open("wb") as half:
        half.write(bytes(500_000))
        half.flush()
        deadline = time.monotonic() + 20
        while not files_in(objects) and time.monotonic() < deadline:
            time.sleep(0.01)
        writer.kill()
        writer.wait()
    rest = files_in(objects)
    assert len(rest) == 1 and rest[0].startswith(".incoming/")

    storage = LocalStorage(objects)
    with pytest.raises(ObjectNotFound):
        storage.head(original_key("img_1"))
    assert list(storage.list("originals/")) == []
    assert files_in(objects) == rest
    yesterday = time.time() - 25 * 3600
    os.utime(objects / rest[0], (yesterday, yesterday))
    LocalStorage(objects)
    assert files_in(objects) == []
