"""Whether killed exports and imports end as those that nobody killed: `python -m bench.exchange --kills 50 --seed 1`.

Runs `misc export` and `misc import` as processes, kills them with SIGKILL at random moments of their work, and runs
them again until they end. Then an export must have the same bytes, and an archive the same rows and objects, as after
one run in peace. Prints a table.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Table, select

from bench.rebuild import fill
from core.archive import deletions
from core.archive.exchange.signature import SigningKey
from core.archive.records.writer import write_missing
from core.database import Database
from core.logging import log_errors_only
from core.settings import DatabaseSettings
from core.storage.keys import FOLDERS
from core.storage.local import LocalStorage
from migrations.upgrade import upgrade
from models.base import Base, utc_now

Row = tuple[str, str]

_PATIENCE_SECONDS = 300
_MOST_SWEEPS = 10
_TARGETS = ("bag", "tar.tar", "ocfl")
_MOMENTS = ("created_at", "last_verified_at")
"""Of the catalogue: when this archive came to know an object."""


def main() -> None:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.exchange", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    log_errors_only()
    with tempfile.TemporaryDirectory(prefix="misc-exchange-") as folder:
        rows = measure_kills(Path(folder), arguments.images, arguments.kills, arguments.seed)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    if any(name == "WRONG" for name, _ in rows):
        sys.exit(1)


def measure_kills(folder: Path, images: int, kills: int, seed: int) -> list[Row]:
    """Half of the kills while images are exported, in each form in turn, half while they are imported."""
    draw = random.Random(seed)
    archive = folder / "archive"
    _make_archive(archive)
    with closing(_database(archive)) as database, closing(LocalStorage(archive / "objects")) as storage:
        fill(database, storage, images)
        while write_missing(database, storage):
            pass
    faults: list[str] = []
    exports = _Exports(archive, folder / "exports")
    exported = exports.killed(draw, kills // 2, faults)
    imports = _Imports(folder / "empty", exports.whole / "bag", folder / "imports", archive / "signing-key.pem")
    imported = imports.killed(draw, kills - kills // 2, faults)
    return [
        ("archive", f"{images} images, seed {seed}"),
        ("kills while exporting", f"{exported['kills']}, in {exported['ends']} exports that ended and were compared"),
        ("kills while importing", f"{imported['kills']}, in {imported['ends']} imports that ended and were compared"),
        ("lost, doubled or changed", str(len(faults))),
        *(("WRONG", fault) for fault in faults[:20]),
    ]


@dataclass(frozen=True)
class _Command:
    """A command of `misc`; it is at its work when `has_begun` says so, and at its end when `is_done` does."""

    words: Sequence[str]
    has_begun: Callable[[], bool]
    is_done: Callable[[], bool] = lambda: False

    def run(self) -> tuple[float, float]:
        """To its end; returns after how many seconds it was at its work, and after how many at its end."""
        started = time.monotonic()
        process = self._start()
        while process.poll() is None and not self.has_begun():
            time.sleep(0.005)
        began = time.monotonic() - started
        if process.wait(_PATIENCE_SECONDS) != 0:
            raise RuntimeError(f"misc {self.words[0]} exited with {process.returncode}")
        return began, time.monotonic() - started

    def run_for(self, seconds: float) -> bool:
        """Kill it so long after its start; False where it ended before."""
        process = self._start()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True
        if process.returncode != 0:
            raise RuntimeError(f"misc {self.words[0]} exited with {process.returncode}")
        return False

    def killed(self, draw: random.Random, most: int, span: tuple[float, float]) -> int:
        """Run it again and again until it ends, with at most so many kills, each at a moment of this span; returns how
        many there were."""
        kills = 0
        while kills < most:
            if not self.run_for(draw.uniform(*span)):
                return kills
            kills += 1
            if self.is_done():
                return kills
        self.run()
        return kills

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MISC_")}
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", *self.words], env=environment, stdout=subprocess.DEVNULL
        )


class _Exports:
    """Exports of one archive in each form: `whole` ones, and those that are killed."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._archive, self._folder = archive, folder
        self.whole = folder / "whole"

    def killed(self, draw: random.Random, kills: int, faults: list[str]) -> Counter[str]:
        spans = {name: self._command(self.whole / name).run() for name in _TARGETS}
        counts = Counter[str]()
        while counts["kills"] < kills:
            name = _TARGETS[counts["ends"] % len(_TARGETS)]
            target = self._folder / "killed" / name
            counts["kills"] += self._command(target).killed(draw, kills - counts["kills"], spans[name])
            counts["ends"] += 1
            if _tree(target) != _tree(self.whole / name):
                faults.append(f"export {counts['ends']} ({name}) has other bytes")
            shutil.rmtree(self._folder / "killed")
        return counts

    def _command(self, target: Path) -> _Command:
        form = ["--as", "ocfl"] if target.name == "ocfl" else []
        words = ["export", "all", "--to", str(target), "--data", str(self._archive), *form]

        def _is_whole() -> bool:
            return target.exists() and _tree(target).keys() == _tree(self.whole / target.name).keys()

        part = target.with_name(f"{target.name}.part")
        return _Command(words, lambda: target.exists() or part.exists(), _is_whole)


class _Imports:
    """Imports of one export into archives with nothing in them."""

    def __init__(self, empty: Path, export: Path, folder: Path, key: Path) -> None:
        self._empty, self._export, self._folder, self._key = empty, export, folder, key
        _make_archive(empty)

    def killed(self, draw: random.Random, kills: int, faults: list[str]) -> Counter[str]:
        whole = self._new_archive("whole")
        span = self._command(whole).run()
        wanted = _contents(whole)
        counts = Counter[str]()
        while counts["kills"] < kills:
            archive = self._new_archive("killed")
            counts["kills"] += self._command(archive).killed(draw, kills - counts["kills"], span)
            counts["ends"] += 1
            found = _contents(archive)
            faults += [f"import {counts['ends']}: {name} differ" for name in wanted if found[name] != wanted[name]]
            shutil.rmtree(archive)
        return counts

    def _new_archive(self, name: str) -> Path:
        archive = self._folder / name
        shutil.copytree(self._empty, archive)
        shutil.copy(self._key, archive / "signing-key.pem")
        return archive

    def _command(self, archive: Path) -> _Command:
        words = ["import", str(self._export), "--data", str(archive)]
        return _Command(words, (archive / "misc.db-wal").is_file)


def _make_archive(folder: Path) -> None:
    (folder / "objects").mkdir(parents=True)
    upgrade(DatabaseSettings(url=f"sqlite:///{folder}/misc.db"))
    SigningKey.create(folder / "signing-key.pem")


def _database(archive: Path) -> Database:
    return Database(DatabaseSettings(url=f"sqlite:///{archive}/misc.db"))


def _contents(archive: Path) -> dict[str, Any]:
    """The rows of every table and the files of the storage, once what a killed process left is swept hours later."""
    with closing(_database(archive)) as database, closing(LocalStorage(archive / "objects")) as storage:
        # As many at a time as a sweep takes; of those that are needed it only forgets that they were reserved.
        for _ in range(_MOST_SWEEPS):
            deletions.sweep(database, storage, now=utc_now() + timedelta(hours=5))
        with database.read() as session:
            rows: dict[str, Any] = {
                table.name: sorted(session.execute(select(*_columns(table))), key=repr)
                for table in Base.metadata.sorted_tables
            }
        # What a killed process had not written whole is in no list, and goes when it is old.
        stored = {info.key: _sha256(storage, info.key) for folder in FOLDERS for info in storage.list(folder)}
    return rows | {"objects": stored}


def _sha256(storage: LocalStorage, key: str) -> str:
    with storage.open(key) as reader:
        return hashlib.sha256(b"".join(reader)).hexdigest()


def _columns(table: Table) -> list[Column[Any]]:
    left_out = _MOMENTS if table.name == "stored_objects" else ()
    return [column for column in table.columns if column.name not in left_out]


def _tree(root: Path) -> dict[str, bytes]:
    if root.is_file():
        return {root.name: root.read_bytes()}
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


if __name__ == "__main__":
    main()
