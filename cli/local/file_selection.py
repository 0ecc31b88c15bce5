"""Which files of those named on the command line are taken, and what is said of the others. Opens none."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from codec.errors import OptionError

THUMBNAIL_FOLDERS = frozenset(
    {"@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN", "lost+found"}
)
"""Folders in which network storage keeps thumbnails and deleted files (`.thumbnails` and `.@__thumb` are hidden)."""

_NAMED = 3
"""How many of a kind are named before they are only counted."""


@dataclass(frozen=True)
class Selection:
    """`files` each with its path relative to what was named; `faults`: what should have been taken and cannot;
    `left_out`: sentences on what a folder holds beside."""

    files: tuple[tuple[Path, Path], ...]
    faults: tuple[OSError, ...] = ()
    left_out: tuple[str, ...] = ()


def select_files(sources: Sequence[Path], suffixes: Collection[str], exclude: Collection[str] = ()) -> Selection:
    """The files that a command works on.

    Named files are taken as they are, whatever they are called and whether or not they are there; of a folder, every
    file at any depth with one of the suffixes, but nothing hidden, nothing in folders of thumbnails and deleted files,
    and nothing whose name or path within the folder fits a pattern of `exclude`. Links to files are taken, links to
    folders are not followed. Raises OptionError where that is nothing.
    """
    files: list[tuple[Path, Path]] = []
    walk = _Walk(suffixes, exclude)
    for source in sources:
        if source.is_dir():
            files += [(path, path.relative_to(source)) for path in sorted(walk.files_below(source))]
        else:
            files.append((source, Path(source.name)))
    left_out = walk.left_out()
    if not files and not walk.faults:
        names = ", ".join(map(str, sources))
        reasons = "".join(f" {sentence}" for sentence in left_out)
        raise OptionError(f"There is nothing to do in {names}: no file ends in {', '.join(sorted(suffixes))}.{reasons}")
    return Selection(tuple(files), tuple(walk.faults), tuple(left_out))


class _Walk:
    """Goes through folders, and remembers what it passes over."""

    def __init__(self, suffixes: Collection[str], exclude: Collection[str]) -> None:
        self._suffixes, self._exclude = suffixes, exclude
        self.faults: list[OSError] = []
        self._links: list[Path] = []
        self._foreign: Counter[str] = Counter()
        self._hidden: list[Path] = []
        self._thumbnails: list[Path] = []
        self._excluded: list[Path] = []
        self._special: list[Path] = []

    def files_below(self, top: Path) -> Iterable[Path]:
        """Every file that is taken, in no order."""
        for folder, folders, names in os.walk(top, onerror=self.faults.append):
            folders[:] = [name for name in folders if self._enters(top, Path(folder) / name)]
            for name in names:
                if self._takes(top, path := Path(folder) / name):
                    yield path

    def _enters(self, top: Path, path: Path) -> bool:
        if path.name.startswith("."):
            self._hidden.append(path)
        elif path.name in THUMBNAIL_FOLDERS:
            self._thumbnails.append(path)
        elif self._is_excluded(top, path):
            self._excluded.append(path)
        elif path.is_symlink():
            self._links.append(path)
        else:
            return True
        return False

    def _takes(self, top: Path, path: Path) -> bool:
        if path.name.startswith("."):
            self._hidden.append(path)
        elif self._is_excluded(top, path):
            self._excluded.append(path)
        elif path.suffix.lower() not in self._suffixes:
            # What an encode wrote beside its inputs is nobody's loss.
            if path.suffix.lower() != ".misc" and not {".ref", ".meta"} & set(path.suffixes):
                self._foreign[path.suffix.lower() or "without a suffix"] += 1
        else:
            try:
                status_is_file = path.is_file()
                if not status_is_file:
                    path.stat()
            except OSError as error:
                self.faults.append(_broken_link(path) if path.is_symlink() else error)
                return False
            if not status_is_file:
                self._special.append(path)
            return status_is_file
        return False

    def _is_excluded(self, top: Path, path: Path) -> bool:
        within = path.relative_to(top).as_posix()
        return any(fnmatchcase(path.name, pattern) or fnmatchcase(within, pattern) for pattern in self._exclude)

    def left_out(self) -> list[str]:
        """A sentence for each kind of thing that was passed over."""
        sentences = [
            f"{path} is a link to a folder and was not followed; name it to have it taken." for path in self._links
        ]
        kinds = (
            (self._hidden, "hidden"),
            (self._thumbnails, "a folder of thumbnails or deleted files"),
            (self._excluded, "excluded"),
            (self._special, "neither a file nor a folder"),
        )
        for paths, kind in kinds:
            if paths:
                names = ", ".join(map(str, paths[:_NAMED])) + (", ..." if len(paths) > _NAMED else "")
                sentences.append(f"{len(paths)} left out as {kind}: {names}.")
        if self._foreign:
            counts = ", ".join(f"{suffix} {count}" for suffix, count in sorted(self._foreign.items()))
            sentences.append(f"{self._foreign.total()} left out by the ends of their names: {counts}.")
        return sentences


def _broken_link(path: Path) -> OSError:
    return FileNotFoundError(2, f"the link leads to {path.readlink()}, which is not there", str(path))
