"""The folder that keeps weights: what is in it, what of the published is not, and which file a name or a digest means.

Fetches nothing; `pull` does. A store that only reads works on a read-only folder.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from codec.errors import WeightsCorrupt, WeightsError, WeightsMissing
from codec.options import Profile
from codec.weights.digest import copy_hashed, digest_of, recall, remember
from codec.weights.index import Record, changing_index, locked, read_index
from codec.weights.manifest import NAME, Licence, Part, Released
from codec.weights.released import RELEASED
from codec.weights.shipped import FOLDER, shipped_records

PREFIX_BYTES = 4
"""So much of a network's digest stands in a stream."""


class State(StrEnum):
    """Whether a file of weights can be used."""

    PRESENT = "present"
    """It is here, with the digest that it should have."""
    UNCHECKED = "unchecked"
    """It is here with the right size, but was touched since it was last hashed, or never was on this machine."""
    CORRUPT = "corrupt"
    """It is here with another size or digest."""
    MISSING = "missing"
    """It is not here; `pull` fetches it."""
    NOT_PINNED = "not pinned"
    """It is not here, and nobody published its digest; `pull --trust` fetches it and keeps the digest it then has."""


@dataclass(frozen=True)
class Listed:
    """One line of a listing: what was published, what is here, or both."""

    name: str
    state: State
    record: Record | None
    released: Released | None


HOMELESS = Path("/var/lib/misc-archive")
"""What a user without a home has instead; whoever may not write there is told so when something is to be kept."""


def default_folder() -> Path:
    """Where weights lie when nobody says where: the same folder for the command and for the workers."""
    try:
        if sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        else:
            base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    except RuntimeError:
        return HOMELESS / "weights"
    folder, earlier = base / "misc-archive" / "weights", base / "misc" / "weights"
    # Earlier versions kept gigabytes there, which processes that run may have open.
    return earlier if earlier.is_dir() and not folder.exists() else folder


class WeightsStore:
    """A folder of weights, and those that come with the program. Safe for many threads and processes."""

    def __init__(self, path: Path, released: Iterable[Released] = RELEASED, shipped: Path | None = FOLDER) -> None:
        """`path` need not exist; it is made when something is put in. `shipped` gets nothing but notes of digests."""
        self.path = path
        self._shipped = shipped
        self.released = {entry.name: entry for entry in released}

    def records(self) -> dict[str, Record]:
        """Everything that is here, by name; raises WeightsCorrupt for a broken index."""
        return read_index(self.path) | self._shipped_records()

    def file_of(self, record: Record) -> Path:
        """The file of a record."""
        folder = self._shipped if self._shipped is not None and self.is_shipped(record.name) else self.path
        return folder / record.file

    def is_shipped(self, name: str) -> bool:
        """Whether it came with the program, and so cannot be fetched, replaced or removed."""
        return name in self._shipped_records()

    def checked(self, record: Record) -> Path:
        """The file of a record, after its digest was found to hold; computed once for a file that stays as it is.

        Raises WeightsMissing and WeightsCorrupt, which name the file, its digest and the command that fetches it.
        """
        file = self.file_of(record)
        if not file.is_file():
            raise self._gone(record)
        found = digest_of(file)
        if found != record.sha256:
            raise WeightsCorrupt(
                f"{record.name} ({file}) has the SHA-256 {found[:16]}..., not {record.sha256[:16]}...: "
                f"it is damaged or another file. {self._how_to_get(record.name)}"
            )
        return file

    def listing(self) -> list[Listed]:
        """All that is published and all that is here, without hashing anything."""
        records = self.records()
        names = [*self.released, *(name for name in records if name not in self.released)]
        return [
            Listed(name, self._state(records.get(name), self.released.get(name)), records.get(name),
                   self.released.get(name))
            for name in names
        ]  # fmt: skip

    def installed(self) -> dict[str, Record]:
        """What is here and not known to be damaged, by digest; nothing is hashed."""
        usable = (State.PRESENT, State.UNCHECKED)
        return {
            entry.record.sha256: entry.record
            for entry in self.listing()
            if entry.record is not None and entry.state in usable
        }

    def names_of(self, profile: Profile) -> list[str]:
        """The published weights that a profile needs, each once."""
        return [e.name for e in self.released.values() if profile in e.profiles and not e.is_alternative]

    def find(
        self,
        *,
        name: str | None = None,
        part: Part | None = None,
        profile: Profile | None = None,
        rate: int | None = None,
        prefix: bytes | None = None,
    ) -> Record:
        """The one record that fits all that is given; raises WeightsMissing that says which command helps.

        An entry for exactly this `rate` is preferred to one that serves every rate. `prefix` is the beginning of the
        digest as a stream names it.
        """
        wanted = "" if prefix is None else prefix.hex()
        found = [
            record
            for record in self.records().values()
            if (name is None or record.name == name)
            and (part is None or record.part is part)
            and (profile is None or profile in record.profiles)
            and (rate is None or record.rate in (None, rate))
            and record.sha256.startswith(wanted)
        ]
        if rate is not None:
            found = [record for record in found if record.rate == rate] or found
        if len({record.sha256 for record in found}) > 1:
            names = ", ".join(sorted(record.name for record in found))
            raise WeightsMissing(
                f"{_network_words(part, profile, rate, wanted)} can mean {names}. Name the one you want."
            )
        if not found:
            raise WeightsMissing(self._what_helps(name, part, profile, rate, wanted))
        # The same file under two names: the published one says best what it is.
        record = next((record for record in found if record.name in self.released), found[0])
        if not self.file_of(record).is_file():
            raise self._gone(record)
        return record

    def add(
        self,
        file: Path,
        *,
        name: str,
        part: Part | None = None,
        architecture: str | None = None,
        profiles: tuple[Profile, ...] = (),
        rate: int | None = None,
        licence: Licence | None = None,
        is_linked: bool = False,
        progress: Callable[[int], None] = lambda _: None,
        check: Callable[[Path], None] = lambda _: None,
    ) -> Record:
        """Take in a file of this machine; with a published name it must have the published digest.

        `is_linked` leaves the file where it is; `check` raises for a file that is no weights, and is asked where no
        digest was published. Raises WeightsMissing, WeightsCorrupt and WeightsError; a refused file leaves nothing.
        """
        released = self.released.get(name)
        if self.is_shipped(name):
            raise WeightsError(f"{name} comes with the program. Take your file in under another name.")
        if not NAME.fullmatch(name):
            raise WeightsError(f"{name!r} cannot name weights: use lower-case letters, digits, '.', '_' and '-'.")
        if released is None and (part is None or not architecture):
            raise WeightsError(f"{name!r} is not a published name, so say which part and architecture it is.")
        if not file.is_file():
            raise WeightsMissing(f"There is no file {file}.")
        if released is None or not released.is_pinned:
            check(file)
        with locked(self.path, name), self._discarded_on_error(self.incoming(f"{name}.added")):
            incoming = self.incoming(f"{name}.added")
            sha256 = digest_of(file, progress=progress) if is_linked else copy_hashed(file, incoming, progress)
            if released is not None:
                record = self.record_of(released, sha256, file.stat().st_size, str(file))
            else:
                assert part is not None and architecture is not None
                record = Record(
                    name=name, part=part, architecture=architecture, file=_place(sha256, file.name), sha256=sha256,
                    bytes=file.stat().st_size, profiles=profiles, rate=rate, licence=licence, origin=str(file),
                )  # fmt: skip
            if is_linked:
                incoming.unlink(missing_ok=True)
                incoming.symlink_to(file.absolute())
            return self.keep(record, incoming)

    @contextmanager
    def _discarded_on_error(self, incoming: Path) -> Iterator[None]:
        """Delete the copy of a file that is refused in the block."""
        try:
            yield
        except BaseException:
            incoming.unlink(missing_ok=True)
            raise

    def remove(self, name: str, *, is_forced: bool = False) -> Record:
        """Forget a name, and delete its file where no other name has it. Returns what the record was.

        Raises WeightsMissing for a name that is not here, and WeightsError for what came with the program and, unless
        `is_forced`, for coarse networks, without which streams cannot be read.
        """
        if self.is_shipped(name):
            raise WeightsError(f"{name} comes with the program and cannot be removed.")
        with locked(self.path, name), changing_index(self.path) as records:
            record = records.get(name)
            if record is None:
                raise WeightsMissing(f"There are no weights {name!r} in {self.path}. `misc weights list` shows all.")
            if record.part is Part.COARSE and not is_forced:
                raise WeightsError(
                    f"{name} is a coarse network: streams that were made with it cannot be read without it. "
                    "--force removes it all the same."
                )
            del records[name]
            if all(other.file != record.file for other in records.values()):
                self.file_of(record).unlink(missing_ok=True)
        return record

    def incoming(self, name: str) -> Path:
        """Where a file is written before it is known to be right: in the store's own file system."""
        folder = self.path / "incoming"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightsError(f"{folder} cannot be made: {error.strerror}. Set MISC_WEIGHTS_PATH.") from None
        return folder / name

    def record_of(self, released: Released, sha256: str, size: int, origin: str) -> Record:
        """What the index will say of a published file; raises WeightsCorrupt when it has another digest."""
        before = self.records().get(released.name)
        expected = before.sha256 if before is not None and not released.is_pinned else released.sha256
        if not released.agrees_with(sha256) or (expected is not None and sha256 != expected):
            known = expected or released.sha256_prefix
            raise WeightsCorrupt(f"{origin} has the SHA-256 {sha256}, but {released.name} has {known}.")
        return Record(
            name=released.name,
            part=released.part,
            architecture=released.architecture,
            file=_place(sha256, released.file_name),
            sha256=sha256,
            bytes=size,
            profiles=released.profiles,
            rate=released.rate,
            scale=released.scale,
            licence=released.licence,
            origin=origin,
            is_trusted=not released.is_pinned,
        )

    def keep(self, record: Record, incoming: Path) -> Record:
        """Give a file whose digest was computed its place and its name. A name keeps the digest that it has.

        A second digest under a name in use is refused: streams name coarse networks by digest, and whoever keeps two
        versions gives them two names.
        """
        target = self.file_of(record)
        with changing_index(self.path) as records:
            before = records.get(record.name)
            if before is not None and before.sha256 != record.sha256:
                incoming.unlink(missing_ok=True)
                raise WeightsError(
                    f"{record.name} is the name of another file (SHA-256 {before.sha256[:16]}...). "
                    "Use another name; streams may depend on that file."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            incoming.replace(target)
            remember(target, record.sha256)
            records[record.name] = record
        return record

    def verify(self, name: str, progress: Callable[[int], None] = lambda _: None) -> Listed:
        """Hash a file anew; raises WeightsMissing for a name that is neither published nor here."""
        record = self.records().get(name)
        if record is None:
            if name not in self.released:
                raise WeightsMissing(f"There are no weights {name!r}. `misc weights list` shows all names.")
            return Listed(name, State.MISSING, None, self.released[name])
        state = State.MISSING
        if self.file_of(record).is_file():
            is_whole = digest_of(self.file_of(record), is_anew=True, progress=progress) == record.sha256
            state = State.PRESENT if is_whole else State.CORRUPT
        return Listed(name, state, record, self.released.get(name))

    def _state(self, record: Record | None, released: Released | None) -> State:
        if record is None:
            known = released is not None and (released.is_pinned or released.sha256_prefix is not None)
            return State.MISSING if known else State.NOT_PINNED
        file = self.file_of(record)
        if not file.is_file():
            return State.MISSING
        if file.stat().st_size != record.bytes:
            return State.CORRUPT
        found = recall(file)
        if found is None:
            return State.UNCHECKED
        return State.PRESENT if found == record.sha256 else State.CORRUPT

    def _shipped_records(self) -> dict[str, Record]:
        return {} if self._shipped is None else shipped_records(self._shipped)

    def _gone(self, record: Record) -> WeightsMissing:
        file = self.file_of(record)
        return WeightsMissing(
            f"The file of {record.name} ({file}, SHA-256 {record.sha256[:16]}...) is gone. "
            f"{self._how_to_get(record.name)}"
        )

    def _what_helps(
        self, name: str | None, part: Part | None, profile: Profile | None, rate: int | None, prefix: str
    ) -> str:
        if name is not None and name not in self.released:
            return f"There are no weights {name!r}. `misc weights list` shows all, `misc weights add` takes in a file."
        published = [
            entry.name
            for entry in self.released.values()
            if (name is None or entry.name == name)
            and (part is None or entry.part is part)
            and (profile is None or profile in entry.profiles)
            and (rate is None or entry.rate in (None, rate))
            and (not prefix or entry.may_be_named_by(prefix))
        ]
        wanted = name or _network_words(part, profile, rate, prefix)
        if published:
            first = published[0]
            return f"{wanted} is not on this machine: {self._sentence_about(first)} {self._how_to_get(first)}"
        kind = part or "PART"
        return f"{wanted} is not on this machine, and no published file is known to be it. Take in the file with \
`misc weights add FILE --name NAME --part {kind} --architecture ARCHITECTURE`."

    def _sentence_about(self, name: str) -> str:
        """A published file in one sentence: how it is called, its size and its digest."""
        released = self.released[name]
        size = "" if released.bytes is None else f"{released.bytes / 1e6:,.0f} MB, "
        known = released.sha256 or released.sha256_prefix
        digest = "no published SHA-256" if known is None else f"SHA-256 {known[:16]}..."
        return f"it is {released.file_name} ({size}{digest})."

    def _how_to_get(self, name: str) -> str:
        if self.is_shipped(name):
            return "It comes with the program: install misc-archive again."
        released = self.released.get(name)
        if released is None:
            return f"Take it in again with `misc weights add FILE --name {name}`."
        needs_trust = not released.is_pinned and released.sha256_prefix is None and name not in self.records()
        return f"Fetch it with `misc weights pull {name}{' --trust' if needs_trust else ''}`."


def _network_words(part: Part | None, profile: Profile | None, rate: int | None, prefix: str) -> str:
    words = [f"The network {part}" if part else "The network"]
    words += [f"of the profile {profile}"] if profile else []
    words += [f"for rate {rate}"] if rate is not None else []
    words += [f"with the SHA-256 {prefix}..."] if prefix else []
    return " ".join(words)


def _place(sha256: str, file_name: str) -> str:
    """Files lie under their digest; the ending is for people."""
    endings = "".join(Path(file_name).suffixes[-2:]) if file_name.endswith(".pth.tar") else Path(file_name).suffix
    return f"files/{sha256}{endings[:20]}"
