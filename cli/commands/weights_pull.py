"""`misc weights pull`: fetches published weights, or takes those back that an archive keeps."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, describe_error, fail_usage, failures
from cli.local.archive import DataOption
from cli.local.weights import JSONOption, PathOption, open_weights
from cli.output import byte_bar, print_json, say, show
from codec.options import Profile

if TYPE_CHECKING:
    from codec.weights.pull import PullRules
    from codec.weights.store import WeightsStore

PULL_HELP = """Fetch published weights by name, or all that a profile needs.

A download that was stopped goes on where it ended. Each file is checked against its SHA-256 before it gets its place; \
a source that is gone or has another file is passed over for the next.

Examples:

  misc weights pull clip-vit-b16

  misc weights pull sd21 --trust

  misc weights pull sd21 --from /media/stick/weights

  misc weights pull --from-archive

  HF_ENDPOINT=https://hub.example.org misc weights pull sd21-base
"""


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
    """Fetch; the help text is `PULL_HELP`."""
    from codec.weights.download import Downloader

    store = open_weights(path)
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
        with byte_bar(f"Fetching {name}") as bar:
            pulled = pull(store, name, downloader, rules, bar.stand, say)
    except (CodecError, OSError) as error:
        return result | {"error": describe_error(error)}
    record = pulled.record
    if record.is_trusted and not pulled.was_here:
        say(f"{name} has no published digest. From now on it is held to {record.sha256}.")
    return result | {
        "was_here": pulled.was_here, "sha256": record.sha256, "bytes": record.bytes,
        "file": str(store.file_of(record)), "source": record.origin, "passed_over": list(pulled.failures),
    }  # fmt: skip
