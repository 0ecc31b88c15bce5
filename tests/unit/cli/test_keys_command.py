"""`misc keys`: makes, lists and revokes keys in the database of a data folder."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from core.database import Database
from core.owners.key_book import KeyBook
from core.owners.keys import digest_of
from core.owners.scope import Scope
from core.settings import DatabaseSettings

Misc = Callable[..., Result]


@pytest.fixture
def folder(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, named by the environment."""
    shutil.copy(migrated_file, tmp_path / "misc.db")
    monkeypatch.setenv("MISC_DATA", str(tmp_path))
    monkeypatch.delenv("MISC_DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def book(folder: Path) -> Iterator[KeyBook]:
    database = Database(DatabaseSettings(url=f"sqlite:///{folder}/misc.db"))
    yield KeyBook(database)
    database.close()


def test_key_is_printed_alone_and_opens(misc: Misc, book: KeyBook) -> None:
    made = misc("keys", "create", "alice-phone", "--owner", "alice", "--scope", "read")
    assert made.exit_code == 0, made.stderr
    caller = book.look_up(digest_of(made.stdout.strip())).caller
    assert caller is not None and (caller.owner, caller.scopes) == ("alice", {Scope.READ})
    assert "alice-phone of alice" in made.stderr and made.stdout.strip() not in made.stderr


def test_no_key_is_kept(misc: Misc, folder: Path) -> None:
    key = json.loads(misc("keys", "create", "alice", "--json").stdout)["key"]
    assert key.startswith("misc_") and len(key) > 40
    for path in folder.glob("misc.db*"):
        assert key.encode() not in path.read_bytes()
    assert key not in misc("keys", "list", "--all", "--json").stdout


def test_revoked_key_is_listed_among_all_and_its_name_is_free(misc: Misc, book: KeyBook) -> None:
    first = misc("keys", "create", "alice").stdout.strip()
    assert misc("keys", "create", "alice").exit_code == 2
    assert misc("keys", "revoke", "alice").exit_code == 0
    assert book.look_up(digest_of(first)).caller is None
    again = misc("keys", "revoke", "alice")
    assert again.exit_code == 2 and "no key 'alice'" in again.stderr
    assert misc("keys", "create", "alice").exit_code == 0
    names = [key["revoked_at"] is None for key in json.loads(misc("keys", "list", "--all", "--json").stdout)["keys"]]
    assert names == [False, True]
    assert len(json.loads(misc("keys", "list", "--json").stdout)["keys"]) == 1


def test_quota_is_the_owners(misc: Misc, folder: Path) -> None:
    misc("keys", "create", "alice", "--pictures-a-day", "5", "--money-a-day", "0.5")
    misc("keys", "create", "phone", "--owner", "alice")
    owners = json.loads(misc("keys", "list", "--json").stdout)["owners"]
    assert owners["alice"]["limits"] == {"pictures": 5, "bytes": None, "money": 0.5}
    assert misc("keys", "quota", "alice", "--bytes-a-day", "1000").stdout.startswith("owner alice today: 0 pictures")
    owners = json.loads(misc("keys", "list", "--json").stdout)["owners"]
    assert owners["alice"]["limits"] == {"pictures": None, "bytes": 1000, "money": None}


@pytest.mark.parametrize("name", ["", "-x", "a b", "ä", "a/b", "x" * 65])
def test_odd_names_are_refused(misc: Misc, folder: Path, name: str) -> None:
    refused = misc("keys", "create", "--", name)
    assert refused.exit_code == 2 and "is no name" in refused.stderr and "Traceback" not in refused.stderr


def test_folder_without_an_archive_is_named(misc: Misc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISC_DATABASE_URL", raising=False)
    nowhere = misc("keys", "list", "--data", tmp_path / "nowhere")
    assert nowhere.exit_code == 2 and "no archive" in nowhere.stderr
    assert not (tmp_path / "nowhere").exists()
