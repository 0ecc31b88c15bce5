"""`misc admin closure`: which networks the streams of an archive need, and whether they are held."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, describe_error
from cli.local.archive import DataOption
from cli.output import print_json, say, show, told_now_and_then

if TYPE_CHECKING:
    from cli.local.archive import Archive
    from core.archive.closure import Standing

_HELP = """List the networks that the streams of the archive name by digest, and whether they are held: installed on \
this machine, or stored in the archive.

A stream of a learned codec cannot be read without its network. With --store the networks that are installed here and \
needed are copied into the archive's storage and read back; `misc weights pull NAME --from-archive` brings them back. \
Exits with 1 when a network is missing without which streams cannot be read.

With --delete a network is deleted from the archive's storage, by its name or digest, or every one that no stream \
names (`--delete all`). One that streams name is refused.

Examples:

  misc admin closure

  misc admin closure --store

  misc admin closure --delete all
"""

_SHOWN = 20
"""Images that are named for each missing network; --json names a thousand."""

_MOST_IMAGES = 1000

_SHORTEST_DIGEST = 8
"""Digits by which a network may be named."""

JSONOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(admin: typer.Typer) -> None:
    """Add the command to those of `misc admin`."""
    admin.command("closure", help=_HELP)(tell_closure)


def tell_closure(
    store: Annotated[bool, typer.Option("--store", help="Store the networks that are held in the archive.")] = False,
    delete: Annotated[
        list[str] | None,
        typer.Option("--delete", metavar="NAME|SHA256|all", help="Delete a stored network that no stream names."),
    ] = None,
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """Tell, store or delete; the help text is `_HELP`."""
    from cli.local.archive import opened_archive
    from cli.local.closure import closure_of

    with opened_archive(data) as archive:
        with told_now_and_then(lambda: "looking for what streams need ..."):
            found = closure_of(archive)
        errors = _store(archive, found) if store else {}
        deleted = _delete(archive, found, delete, errors) if delete else []
        if store or deleted:
            found = closure_of(archive)
        document = missing_to_json(archive, found) | {
            "networks": [_to_json(one) for one in found],
            "deleted": deleted,
            "errors": errors,
        }
    if as_json:
        print_json(document)
    else:
        for one in found:
            show(_line(one))
        show_missing(document)
        if not found:
            show("No stream needs a network.")
    for network in deleted:
        say(f"misc: deleted {network['name']}, {network['bytes']} bytes")
    for error in errors.values():
        say(f"misc: {error['message']}")
    if errors or document["missing_networks"]:
        raise typer.Exit(FAILED)


def missing_to_json(archive: "Archive", found: Sequence["Standing"]) -> dict[str, Any]:
    """The networks that are missing, with the images that cannot be read."""
    from core.archive.closure import images_naming

    missing = [one.need for one in found if one.is_missing]
    with archive.database.read() as session:
        named = [
            {"part": need.part, "prefix": need.prefix, "images": images_naming(session, need, _MOST_IMAGES)}
            | {"count": need.images}
            for need in missing
        ]
    return {"missing_networks": named}


def show_missing(document: dict[str, Any]) -> None:
    """The same for people."""
    for need in document["missing_networks"]:
        more = "" if need["count"] <= _SHOWN else f" and {need['count'] - _SHOWN} more"
        show(
            f"MISSING  the network {need['part']} {need['prefix']}, without which {need['count']} images cannot be "
            f"read: {', '.join(need['images'][:_SHOWN])}{more}. Take it in with `misc weights add`."
        )


def _store(archive: "Archive", found: Sequence["Standing"]) -> dict[str, dict[str, str]]:
    """Store what is needed and installed; errors by digest."""
    from cli.local.closure import card_of
    from cli.local.paths import weights_store
    from codec.errors import CodecError
    from core.archive import networks
    from core.errors import ServiceError

    store = weights_store()
    here = store.installed()
    errors: dict[str, dict[str, str]] = {}
    for one in found:
        if one.sha256 is None or one.sha256 not in here or one.is_stored:
            continue
        record = here[one.sha256]
        say(f"misc: storing {record.name}, {record.bytes} bytes")
        try:
            networks.store(archive.database, archive.copies, card_of(record), store.checked(record))
        except CodecError as error:
            errors[one.sha256] = describe_error(error)
        except ServiceError as error:
            errors[one.sha256] = {"code": error.code, "message": str(error)}
    return errors


def _delete(
    archive: "Archive", found: Sequence["Standing"], wanted: Sequence[str], errors: dict[str, dict[str, str]]
) -> list[dict[str, Any]]:
    """Delete the stored networks of these names or digests; what is refused goes to `errors`."""
    from core.archive import closure, networks
    from core.errors import ServiceError

    storage = archive.copies.as_one()
    stored = networks.stored(archive.database, archive.copies.storage)
    named = {one.sha256 for one in found}
    deleted = []
    for card in stored.values():
        is_spare = "all" in wanted and card.sha256 not in named
        if not is_spare and not any(word == card.name or _is_digest_of(card.sha256, word) for word in wanted):
            continue
        try:
            closure.delete(archive.database, storage, card.sha256)
            deleted.append({"name": card.name, "sha256": card.sha256, "bytes": card.size_bytes})
        except ServiceError as error:
            errors[card.sha256] = {"code": error.code, "message": str(error)}
    known = {card.name for card in stored.values()}
    for word in wanted:
        if word != "all" and word not in known and not any(_is_digest_of(sha256, word) for sha256 in stored):
            errors[word] = {"code": "not_found", "message": f"The archive stores no network {word}."}
    return deleted


def _is_digest_of(sha256: str, word: str) -> bool:
    return len(word) >= _SHORTEST_DIGEST and sha256.startswith(word)


def _to_json(one: "Standing") -> dict[str, Any]:
    need = one.need
    return {
        "part": need.part,
        "prefix": need.prefix,
        "images": need.images,
        "name": one.name,
        "sha256": one.sha256,
        "installed": one.is_installed,
        "stored": one.is_stored,
        "missing": one.is_missing,
    }


def _line(one: "Standing") -> str:
    need = one.need
    places = [word for word, holds in (("installed", one.is_installed), ("stored", one.is_stored)) if holds]
    return (
        f"{need.part:8} {need.prefix}  {need.images:8} images  {', '.join(places) or '-':18} {one.name or ''}".rstrip()
    )
