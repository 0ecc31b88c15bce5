"""The embedded stack when one of its parts cannot start."""

import os
import stat
from pathlib import Path

import pytest

from cli.commands.demo import isolated_environment
from cli.up.data_folder import DataFolder, StackError
from cli.up.stack import EmbeddedStack


def test_database_that_is_none_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "misc.db").write_bytes(b"this is no database at all, whatever its name is" * 100)
    stack = EmbeddedStack(data, 0, environment=isolated_environment(os.environ))

    with pytest.raises(StackError, match="MISC_DATABASE_URL"):
        stack.start()

    assert stack.pids == {}
    assert not (data / "run" / "redis.sock").exists()


@pytest.mark.parametrize("is_old", [False, True])
def test_data_folder_is_for_its_user_only(tmp_path: Path, is_old: bool) -> None:
    data = tmp_path / "data"
    if is_old:
        data.mkdir(mode=0o755)
    lock = DataFolder(data).lock()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    os.close(lock)
