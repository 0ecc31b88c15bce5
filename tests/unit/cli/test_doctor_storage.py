"""The doctor looks at the store that is configured, whatever becomes of the folder that would be made without one."""

from pathlib import Path

import pytest

from cli.doctor.parts import storage


def test_store_that_is_configured_needs_no_folder_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_text("a file")
    monkeypatch.delenv("MISC_STORAGE_PATH", raising=False)
    assert not storage(tmp_path / "data").is_well
    monkeypatch.setenv("MISC_STORAGE_PATH", str(tmp_path / "objects"))
    found = storage(tmp_path / "data")
    assert found.is_well and str(tmp_path / "objects") in found.detail
