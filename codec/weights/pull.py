"""Brings published weights into the store: from the first of several sources that has the right file.

Decides what may be fetched and trusted; `download` moves the bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from codec.errors import WeightsCorrupt, WeightsError, WeightsMissing
from codec.weights.digest import copy_hashed, digest_of
from codec.weights.download import Downloader, Expected, Progress, SourceFailed
from codec.weights.index import Record, changing_index, locked
from codec.weights.manifest import Released
from codec.weights.store import WeightsStore

HUB_ENDPOINT = "https://huggingface.co"
"""Where hub sources are looked for unless HF_ENDPOINT names a mirror."""


@dataclass(frozen=True)
class PullRules:
    """What a pull may do. `only_from` is a folder, a file or a URL prefix that replaces all published sources."""

    hub_endpoint: str = HUB_ENDPOINT
    only_from: str | None = None
    is_trusting: bool = False
    is_offline: bool = False
    check: Callable[[Path], None] = lambda _: None
    """Raises WeightsCorrupt for a file that is no weights; asked where no digest was published."""


@dataclass(frozen=True)
class Pulled:
    """What came of a pull. `was_here` says that nothing had to be fetched."""

    record: Record
    was_here: bool
    failures: tuple[str, ...] = ()
    """Sources that were tried before the one that had it, and why they did not do."""


def pull(
    store: WeightsStore,
    name: str,
    downloader: Downloader,
    rules: PullRules,
    progress: Progress = lambda _done, _all: None,
    say: Callable[[str], None] = lambda _: None,
) -> Pulled:
    """Fetch published weights unless they are here and whole. Many processes may pull the same at once.

    Raises WeightsMissing that tells what happened at each source, and WeightsError for what must not be fetched.
    """
    released = store.released.get(name)
    if released is None:
        raise WeightsMissing(f"{name!r} is not published. `misc weights list` shows what is.")
    with locked(store.path, name):
        record = store.records().get(name)
        if record is not None and record.is_trusted and rules.is_trusting and not _is_sound(store, record, rules):
            # What was trusted once was never whole: it binds nobody.
            record = None
            _forget(store, name)
        if record is not None and _is_whole(store, record):
            return Pulled(record, was_here=True)
        expected = _expected(released, record)
        if not expected.sha256 and not rules.is_trusting:
            raise WeightsError(
                f"{name} is not pinned: its publisher gives no SHA-256. `misc weights pull {name} --trust` fetches it "
                "and holds you to the digest it then has; or take in a file you know with "
                f"`misc weights add FILE --name {name}`."
            )
        return _from_first_source(store, released, expected, downloader, rules, progress, say)


def _from_first_source(
    store: WeightsStore, released: Released, expected: Expected, downloader: Downloader, rules: PullRules,
    progress: Progress, say: Callable[[str], None],
) -> Pulled:  # fmt: skip
    part = store.incoming(f"{released.name}.part")
    failures: list[str] = []
    for address in _addresses(released, rules):
        say(f"{released.name} from {address}")
        try:
            if address.startswith(("http://", "https://")):
                if rules.is_offline:
                    raise SourceFailed("MISC_WEIGHTS_OFFLINE is set")
                sha256 = downloader.fetch(address, part, expected, progress)
                incoming = part
            else:
                incoming = store.incoming(f"{released.name}.copied")
                sha256 = _copied(Path(address), incoming, expected, progress)
        except SourceFailed as error:
            failures.append(f"{address}: {error}")
            say(f"  {error}")
            continue
        if not released.is_pinned:
            try:
                rules.check(incoming)
            except WeightsCorrupt as error:
                incoming.unlink(missing_ok=True)
                failures.append(f"{address}: {str(error).removeprefix(f'{incoming} is ')}")
                say(f"  {error}")
                continue
        size = incoming.stat().st_size
        return Pulled(store.keep(store.record_of(released, sha256, size, address), incoming), False, tuple(failures))
    raise WeightsMissing(
        f"{released.name} could not be had from any source. "
        + "; ".join(failures)
        + f". Take it from elsewhere with `misc weights pull {released.name} --from FOLDER_OR_URL`."
    )


def _addresses(released: Released, rules: PullRules) -> list[str]:
    if rules.only_from is None:
        return [source.address(rules.hub_endpoint) for source in released.sources]
    if "://" in rules.only_from:
        return [f"{rules.only_from.rstrip('/')}/{released.file_name}"]
    folder = Path(rules.only_from).expanduser()
    return [str(folder if folder.is_file() else folder / released.file_name)]


def _copied(file: Path, incoming: Path, expected: Expected, progress: Progress) -> str:
    if not file.is_file():
        raise SourceFailed("there is no such file")
    size = file.stat().st_size
    if expected.bytes is not None and size != expected.bytes:
        raise SourceFailed(f"it has {size} bytes, not {expected.bytes}")
    done = 0

    def _note(step: int) -> None:
        nonlocal done
        done += step
        progress(done, size)

    sha256 = copy_hashed(file, incoming, _note)
    if not sha256.startswith(expected.sha256):
        incoming.unlink()
        raise SourceFailed(f"it is another file: SHA-256 {sha256[:16]}..., not {expected.sha256[:16]}...")
    return sha256


def _expected(released: Released, record: Record | None) -> Expected:
    """What was trusted once binds as if it had been published."""
    if released.sha256 is None and record is not None:
        return Expected(record.bytes, record.sha256)
    return Expected(released.bytes, released.sha256 or released.sha256_prefix or "")


def _is_sound(store: WeightsStore, record: Record, rules: PullRules) -> bool:
    """False for a file that is there and no weights; one that is gone was sound when it was trusted."""
    try:
        rules.check(store.file_of(record))
    except FileNotFoundError:
        return True
    except WeightsCorrupt:
        return False
    return True


def _forget(store: WeightsStore, name: str) -> None:
    """Remove a record while the name is locked."""
    with changing_index(store.path) as records:
        record = records.pop(name, None)
        if record is not None and all(other.file != record.file for other in records.values()):
            store.file_of(record).unlink(missing_ok=True)


def _is_whole(store: WeightsStore, record: Record) -> bool:
    file = store.file_of(record)
    return file.is_file() and file.stat().st_size == record.bytes and digest_of(file) == record.sha256
