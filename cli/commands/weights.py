"""`misc weights`: which networks are here, fetching and taking in more, and whether their digests hold."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, describe_error, fail_usage, failures, usage_errors
from cli.local.archive import DataOption
from cli.output import print_json, say, show
from codec.options import Profile
from codec.weights.manifest import Part

if TYPE_CHECKING:
    from codec.weights.pull import PullRules
    from codec.weights.store import Listed, WeightsStore

_HELP = """The networks: where they are, whether their digests hold.

Those of the profile lite come with the program. Pixel and ref modes, the local describer and the restorer smooth need \
none. CLIP locates what a text names, coarse networks code pictures with --mode net, and the rest of a profile restores.

Examples:

  misc weights list

  misc weights pull sd21

  misc weights add tuned.pth.tar --name tuned --part coarse --architecture cheng2020-attn
"""

_LIST_HELP = """List published weights, those that come with the program, and your own: what for, and whether here.

States: present; unchecked (here, but touched since its digest was last computed: run `misc weights verify`); corrupt; \
missing; not pinned (not here, and its publisher gives no digest). Nothing is hashed and nothing is fetched.

Example: misc weights list --json
"""

_PULL_HELP = """Fetch published weights by name, or all that a profile needs.

A download that was stopped goes on where it ended. Each file is checked against its SHA-256 before it gets its place; \
a source that is gone or has another file is passed over for the next.

Examples:

  misc weights pull clip-vit-b16

  misc weights pull sd21 --trust

  misc weights pull sd21 --from /media/stick/weights

  misc weights pull --from-archive

  HF_ENDPOINT=https://hub.example.org misc weights pull sd21-base
"""

_VERIFY_HELP = """Hash weights anew and compare with the digests they should have. Exit status 1 names the bad ones.

Examples:

  misc weights verify

  misc weights verify clip-vit-b16
"""

_ADD_HELP = """Take in a file of weights that is on this machine.

A published name brings all that is published of it, and the file must have that digest. Any other name needs --part \
and --architecture. Streams name coarse networks by digest, so a name keeps the file that it has.

Examples:

  misc weights add ViT-B-16.pt --name clip-vit-b16

  misc weights add mine.pth.tar --name mine --part coarse --architecture mbt2018-mean --profile sd21 --rate 1

  misc weights add /models/general_full_v1.ckpt --name diffbir-v1-general-full --link
"""

_REMOVE_HELP = """Remove weights that you fetched or took in; their files are deleted.

A coarse network is needed to read the streams that were made with it, so it is removed with --force only.

Example: misc weights remove diffbir-v2
"""

_REMEDY = "`misc weights pull {0}` fetches it if it is published, `misc weights add` takes it in otherwise."
_REMEDY_OF_SHIPPED = "{0} comes with the program: install misc-archive again."

PathOption = Annotated[
    Path | None,
    typer.Option("--path", metavar="DIR", help="Folder of weights; MISC_WEIGHTS_PATH or your data folder without it."),
]
JSONOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    weights = typer.Typer(help=_HELP, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
    weights.command("list", help=_LIST_HELP)(list_weights)
    weights.command("pull", help=_PULL_HELP)(pull_weights)
    weights.command("verify", help=_VERIFY_HELP)(verify_weights)
    weights.command("add", help=_ADD_HELP)(add_weights)
    weights.command("remove", help=_REMOVE_HELP)(remove_weights)
    app.add_typer(weights, name="weights")


def list_weights(path: PathOption = None, as_json: JSONOption = False) -> None:
    """List; the help text is `_LIST_HELP`."""
    store = _open(path)
    with usage_errors():
        listing = store.listing()
    if as_json:
        print_json({"path": str(store.path), "weights": [_as_json(store, entry) for entry in listing]})
        return
    rows = [("NAME", "PART", "PROFILE", "SIZE", "STATE", "SHA-256", "LICENCE"), *(_row(entry) for entry in listing)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    show(
        f"\nThose of the profile lite come with the program, the others lie in {store.path}. "
        "A profile in brackets has that already in another form."
    )


def pull_weights(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME|PROFILE...", help="See `misc weights list`.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Fetch files without a published digest and keep the one they have.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="PATH|URL", help="A folder, file or URL prefix to take instead of all sources."),
    ] = None,
    from_archive: Annotated[
        bool, typer.Option("--from-archive", help="From the archive's storage; without names all that it keeps.")
    ] = False,
    path: PathOption = None,
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """Fetch; the help text is `_PULL_HELP`."""
    from codec.weights.download import Downloader

    store = _open(path)
    if from_archive:
        _report_pulled(_taken_back(store, names or [], data), as_json=as_json)
        return
    if not names:
        raise fail_usage("Say which weights: names or a profile. `misc weights list` shows all.")
    rules = _rules(source, is_trusting=trust)
    wanted = list(dict.fromkeys(one for name in names for one in _meant(store, name)))
    with Downloader() as downloader:
        results = [_pulled(store, name, downloader, rules) for name in wanted]
    _report_pulled(results, as_json=as_json)


def _report_pulled(results: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"results": results})
    for result in results:
        if result["error"] is not None:
            say(f"misc: {result['error']['message']}")
        elif not as_json:
            show(f"{result['name']}: {'was here' if result['was_here'] else 'fetched'}, SHA-256 {result['sha256']}")
    if failures(results):
        raise typer.Exit(FAILED)


def verify_weights(
    name: Annotated[str | None, typer.Argument(help="All that is here without it.")] = None,
    path: PathOption = None,
    as_json: JSONOption = False,
) -> None:
    """Verify; the help text is `_VERIFY_HELP`."""
    from codec.errors import WeightsError
    from codec.weights.store import State

    store = _open(path)
    results: list[dict[str, Any]] = []
    with usage_errors():
        names = [name] if name is not None else list(store.records())
        if name is not None and name not in store.released and name not in store.records():
            raise WeightsError(f"There are no weights {name!r}. `misc weights list` shows all names.")
    for one in names:
        size = store.records()[one].bytes if one in store.records() else 0
        try:
            with _bar(f"Hashing {one}", size) as progress:
                entry = store.verify(one, progress)
            is_well = entry.state is State.PRESENT
            error = None if is_well else {"code": f"weights_{entry.state}", "message": f"{one} is {entry.state}."}
        except WeightsError as problem:
            error = describe_error(problem)
        results.append({"name": one, "error": error})
        if not as_json:
            show(f"{'ok' if error is None else 'BAD':4} {one}")
    if as_json:
        print_json({"ok": not failures(results), "results": results})
    for result in results:
        if result["error"] is not None:
            remedy = _REMEDY_OF_SHIPPED if store.is_shipped(result["name"]) else _REMEDY
            say(f"misc: {result['error']['message']} {remedy.format(result['name'])}")
    if failures(results):
        raise typer.Exit(FAILED)
    if not results and not as_json:
        show(f"No weights are in {store.path}.")


def add_weights(
    file: Annotated[Path, typer.Argument(help="The file of weights.")],
    name: Annotated[str, typer.Option(help="What it shall be called.")],
    part: Annotated[Part | None, typer.Option(help="What it is for.")] = None,
    architecture: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which network it is of, as cheng2020-attn.")
    ] = None,
    profile: Annotated[Profile | None, typer.Option(help="Set of networks that it belongs to.")] = None,
    rate: Annotated[int | None, typer.Option(min=1, max=3, help="Rate that it serves; all without it.")] = None,
    licence: Annotated[str | None, typer.Option(metavar="ID", help="Its licence, as MIT.")] = None,
    licence_link: Annotated[str, typer.Option(metavar="URL", help="Where the licence can be read.")] = "",
    link: Annotated[bool, typer.Option("--link", help="Leave the file where it is; it must stay there.")] = False,
    path: PathOption = None,
    as_json: JSONOption = False,
) -> None:
    """Take in; the help text is `_ADD_HELP`."""
    from codec.errors import WeightsError
    from codec.weights.manifest import NAME, Licence
    from codec.weights.trial import try_weights

    store = _open(path)
    if not NAME.fullmatch(name):
        raise fail_usage(f"{name!r} cannot name weights: use lower-case letters, digits, '.', '_' and '-'.")
    if name not in store.released and (part is None or architecture is None):
        raise fail_usage(f"{name!r} is not a published name, so say its --part and --architecture.")
    try:
        with _bar(f"Taking in {name}", file.stat().st_size) as progress:
            record = store.add(
                file, name=name, part=part, architecture=architecture, profiles=(profile,) if profile else (),
                rate=rate, licence=Licence(licence, licence_link) if licence else None, is_linked=link,
                progress=progress, check=try_weights,
            )  # fmt: skip
    except (WeightsError, OSError) as error:
        say(f"misc: {describe_error(error)['message']}")
        raise typer.Exit(FAILED) from None
    if as_json:
        entry = next(entry for entry in store.listing() if entry.name == name)
        print_json(_as_json(store, entry))
    else:
        show(f"{record.name}: SHA-256 {record.sha256}")


def remove_weights(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="See `misc weights list`.")],
    force: Annotated[bool, typer.Option("--force", help="Coarse networks too.")] = False,
    path: PathOption = None,
    as_json: JSONOption = False,
) -> None:
    """Remove; the help text is `_REMOVE_HELP`."""
    from codec.errors import WeightsError

    store = _open(path)
    results: list[dict[str, Any]] = []
    for name in names:
        try:
            record = store.remove(name, is_forced=force)
            results.append({"name": name, "sha256": record.sha256, "bytes": record.bytes, "error": None})
        except (WeightsError, OSError) as error:
            results.append({"name": name, "sha256": None, "bytes": None, "error": describe_error(error)})
            say(f"misc: {describe_error(error)['message']}")
    if as_json:
        print_json({"removed": results})
    else:
        for result in results:
            if result["error"] is None:
                show(f"{result['name']}: removed")
    if failures(results):
        raise typer.Exit(FAILED)


def weights_folder(path: Path | None = None) -> Path:
    """The folder that is meant: the one given, that of MISC_WEIGHTS_PATH, or the one in the user's data."""
    from codec.weights.store import default_folder
    from core.settings import WeightsSettings, load

    return path or load(WeightsSettings).path or default_folder()


def _open(path: Path | None) -> "WeightsStore":
    from codec.weights.store import WeightsStore
    from core.errors import ServiceError

    try:
        return WeightsStore(weights_folder(path))
    except ServiceError as error:
        raise fail_usage(str(error)) from None


def _rules(source: str | None, *, is_trusting: bool) -> "PullRules":
    from codec.weights.pull import HUB_ENDPOINT, PullRules
    from codec.weights.trial import try_weights
    from core.settings import WeightsSettings, load

    if source is not None and "://" in source and not source.startswith(("http://", "https://")):
        raise fail_usage(f"--from takes a folder, a file or an http(s) address, not {source!r}.")
    return PullRules(
        hub_endpoint=os.environ.get("HF_ENDPOINT") or HUB_ENDPOINT,
        only_from=source,
        is_trusting=is_trusting,
        is_offline=load(WeightsSettings).offline,
        check=try_weights,
    )


def _meant(store: "WeightsStore", name: str) -> list[str]:
    """The published names that a word of the command line stands for."""
    if name in store.released:
        return [name]
    if store.is_shipped(name):
        say(f"misc: {name} comes with the program and need not be fetched.")
        return []
    if name not in [profile.value for profile in Profile]:
        raise fail_usage(f"{name!r} is neither published weights nor a profile. `misc weights list` shows all names.")
    names = store.names_of(Profile(name))
    if not names:
        say(f"misc: the profile {name} needs no weights that have to be fetched.")
    return names


def _taken_back(store: "WeightsStore", names: list[str], data: Path | None) -> list[dict[str, Any]]:
    """Take networks from the archive, by name or the beginning of a digest; an error becomes part of the result."""
    from cli.local.archive import opened_archive
    from cli.local.closure import take_back
    from codec.errors import CodecError
    from core.archive import networks
    from core.errors import ServiceError

    results: list[dict[str, Any]] = []
    with opened_archive(data) as archive:
        cards = list(networks.stored(archive.database, archive.copies.storage).values())
        for name in names:
            if not any(card.name == name or card.sha256.startswith(name) for card in cards):
                raise fail_usage(f"The archive keeps no network {name!r}. `misc admin closure` shows what it keeps.")
        for card in cards:
            if names and not any(card.name == name or card.sha256.startswith(name) for name in names):
                continue
            error = was_here = None
            try:
                was_here = not take_back(store, archive, card)
            except (CodecError, OSError) as fault:
                error = describe_error(fault)
            except ServiceError as fault:
                error = {"code": fault.code, "message": str(fault)}
            results.append({"name": card.name, "was_here": was_here, "sha256": card.sha256, "error": error})
    return results


def _pulled(store: "WeightsStore", name: str, downloader: Any, rules: "PullRules") -> dict[str, Any]:
    """Fetch one; an error becomes part of the result."""
    from codec.errors import CodecError
    from codec.weights.pull import pull

    result: dict[str, Any] = {
        "name": name, "was_here": None, "sha256": None, "bytes": None, "file": None, "source": None, "passed_over": [],
        "error": None,
    }  # fmt: skip
    try:
        with _download_bar(name) as progress:
            pulled = pull(store, name, downloader, rules, progress, say)
    except (CodecError, OSError) as error:
        return result | {"error": describe_error(error)}
    record = pulled.record
    if record.is_trusted and not pulled.was_here:
        say(f"{name} has no published digest. From now on it is held to {record.sha256}.")
    return result | {
        "was_here": pulled.was_here, "sha256": record.sha256, "bytes": record.bytes,
        "file": str(store.file_of(record)), "source": record.origin, "passed_over": list(pulled.failures),
    }  # fmt: skip


@contextmanager
def _download_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(name, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    with _download_bar(what) as progress:
        done = 0

        def _step(size: int) -> None:
            nonlocal done
            done += size
            progress(done, total)

        yield _step


def _row(entry: "Listed") -> tuple[str, ...]:
    record, released = entry.record, entry.released
    known = record.sha256 if record else (released and (released.sha256 or released.sha256_prefix)) or ""
    size = record.bytes if record else released.bytes if released else None
    licence = (record and record.licence) or (released and released.licence)
    part = record.part if record else released.part if released else ""
    return (
        entry.name, str(part), ", ".join(_profiles(entry)), _size(size), entry.state, known[:8],
        licence.identifier if licence else "",
    )  # fmt: skip


def _profiles(entry: "Listed") -> list[str]:
    if entry.released and entry.released.is_alternative:
        return [f"({profile})" for profile in entry.released.profiles]
    held = entry.record or entry.released
    return [str(profile) for profile in held.profiles] if held else []


def _size(size: int | None) -> str:
    if size is None:
        return "?"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _as_json(store: "WeightsStore", entry: "Listed") -> dict[str, Any]:
    record, released = entry.record, entry.released
    held: Any = record or released
    licence = held.licence
    return {
        "name": entry.name,
        "state": entry.state.value,
        "part": held.part.value,
        "architecture": held.architecture,
        "profiles": [profile.value for profile in held.profiles],
        "rate": held.rate,
        "bytes": held.bytes,
        "sha256": held.sha256,
        "sha256_prefix": released.sha256_prefix if released else None,
        "file": str(store.file_of(record)) if record else None,
        "origin": record.origin if record else None,
        "licence": {"id": licence.identifier, "link": licence.link} if licence else None,
        "published": released is not None,
        "binding": released.is_binding if released else held.part is Part.COARSE,
        "alternative": released.is_alternative if released else False,
        "sources": [source.address("hub:") for source in released.sources] if released else [],
    }
