"""What killed processes leave in the temporary folder goes after a day, and nothing else does."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from core.temp_files import FETCHED, UPLOADS, remove_stale_temp_files


def test_only_ours_of_that_name_and_a_day_old_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, elsewhere = tmp_path / "temporary", tmp_path / "elsewhere"
    for each in (folder, elsewhere):
        each.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for name in ("misc-upload-old", "misc-upload-young", "another-old"):
        (folder / name).mkdir()
        (folder / name / "0").write_bytes(b"part")
    for name in ("misc-fetched-old.png", "misc-fetched-young.png"):
        (folder / name).write_bytes(b"picture")
    for name in ("misc-upload-link", "misc-fetched-link"):
        (folder / name).symlink_to(elsewhere)
    long_ago = time.time() - 25 * 3600
    for path in (*folder.glob("*-old*"), elsewhere):
        os.utime(path, (long_ago, long_ago))
    for name in ("misc-upload-link", "misc-fetched-link"):
        os.utime(folder / name, (long_ago, long_ago), follow_symlinks=False)

    assert (remove_stale_temp_files(UPLOADS), remove_stale_temp_files(FETCHED)) == (1, 1)
    left = sorted(path.name for path in folder.iterdir())
    assert left == [
        "another-old", "misc-fetched-link", "misc-fetched-young.png", "misc-upload-link", "misc-upload-young",
    ]  # fmt: skip
    assert elsewhere.is_dir()
