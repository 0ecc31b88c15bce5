"""`misc export` and `misc import`: images as files for other archives. `core.archive.exchange` does the work."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import FAILED, archive_failures, fail_usage
from cli.local.archive import DataOption
from cli.output import group_bar, print_json, say, show
from core.archive.exchange.form import Form

if TYPE_CHECKING:
    from core.archive.exchange.export import Exported
    from core.archive.exchange.intake import Imported

_EXPORT_HELP = """Write images to a folder or a tar that other archives and other programs can check and take in.

SELECTION is `all`, or ids of images; --batch, --search and --owner narrow it down. Each image comes with its stream, \
its record (name, description, times, owner), its original where that was kept, and the reference picture where its \
stream needs one. The same images give the same bytes wherever they are. Run the command again after an interruption: \
it goes on.

Exports are signed with the archive's signing key, where it has one; see `misc keys signing`.

Examples:

  misc export all --to /media/disk/archive --as bagit

  misc export --batch holiday --to holiday.tar

  misc export img_01m2... img_01m3... --to two --as ocfl
"""

_IMPORT_HELP = """Take in what `misc export` wrote: a folder or a tar.

Every file is held against its digest before anything is taken, and the signature against the trusted keys. Images \
come with the ids, names, descriptions and times that they had. What is there already stays as it is, so the command \
may be run again. Exits with 1 when the export is refused, or an image is there and is another one.

Examples:

  misc import /media/disk/archive

  misc import holiday.tar --owner alice
"""

JSONOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("export", help=_EXPORT_HELP)(export_images)
    app.command("import", help=_IMPORT_HELP)(import_images)


def export_images(
    to: Annotated[Path, typer.Option("--to", metavar="DIR|TAR", help="A new folder, or a new file named *.tar.")],
    selection: Annotated[list[str] | None, typer.Argument(metavar="[SELECTION]...", help="all, or ids.")] = None,
    form: Annotated[
        Form | None, typer.Option("--as", help="bagit (of a folder), ocfl, or tar: the files alone, in a tar.")
    ] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Only those of this batch; of a name the newest.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Only those whose name or description has these words.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Only those of this owner.")] = None,
    originals: Annotated[
        bool, typer.Option("--originals/--no-originals", help="With the originals that were kept, or without.")
    ] = True,
    networks: Annotated[
        bool, typer.Option("--networks", help="With the networks that the streams name, some of gigabytes.")
    ] = False,
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """Export; the help text is `_EXPORT_HELP`."""
    from cli.local.archive import opened_archive
    from cli.local.closure import networks_here
    from cli.local.signing import signing_key
    from core.archive.exchange.export import Order, export
    from core.archive.exchange.selection import Selection

    ids = tuple(selection or ())
    if not ids and not (batch or search or owner):
        raise fail_usage("Say what to export: `all`, ids of images, --batch, --search or --owner.")
    is_tar = to.suffix == ".tar"
    if form is Form.TAR and not is_tar:
        raise fail_usage(f"A tar's name ends in .tar; {to} does not.")
    chosen = Selection(() if ids == ("all",) else ids, batch, search, owner)
    order = Order(chosen, form or (Form.TAR if is_tar else Form.BAGIT), originals, networks)
    with opened_archive(data) as archive, archive_failures(ValueError), group_bar("Exporting") as note:
        key = signing_key(data)
        held = networks_here() if networks else []
        exported = export(archive.database, archive.copies.as_one(), order, to, key, held, _told(note))
    if key is None:
        say("misc: the export is not signed. `misc keys signing create` makes a key.")
    _report_export(exported, to, None if key is None else key.public, as_json=as_json)


def import_images(
    source: Annotated[Path, typer.Argument(metavar="PATH", help="The folder or tar.")],
    owner: Annotated[str | None, typer.Option(help="In whose name; without it as it was.")] = None,
    untrusted: Annotated[
        bool, typer.Option("--untrusted", help="Take it though nobody signed it, or somebody who is not trusted.")
    ] = False,
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """Import; the help text is `_IMPORT_HELP`."""
    from cli.local.archive import opened_archive
    from cli.local.signing import signing_key, trusted_keys
    from core.archive.exchange.intake import take_in
    from core.archive.exchange.verification import check_signer, opened_export, verify
    from core.owners.keys import check_name

    with opened_archive(data) as archive, archive_failures(ValueError):
        if owner is not None:
            check_name(owner)
        own = signing_key(data)
        trusted = trusted_keys(data).all() | ({} if own is None else {own.public: "this archive"})
        with opened_export(source) as export:
            signer = check_signer(export, trusted, is_trusting=untrusted)
            with group_bar("Verifying") as note:
                verify(export, _told(note))
            with group_bar("Importing") as note:
                imported = take_in(archive.database, archive.copies, export, owner, _told(note))
    _report_import(imported, signer, as_json=as_json)


def _told(note: Callable[[int, int, float | None], None]) -> Callable[[int, int], None]:
    return lambda done, total: note(done, total, None)


def _report_export(exported: "Exported", to: Path, key: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "path": str(to),
                "images": exported.images,
                "files": exported.files,
                "bytes": exported.size_bytes,
                "left_out": exported.left_out,
                "networks": exported.networks,
                "missing_networks": exported.missing,
                "key": key,
            }
        )
    else:
        show(f"{to}: {exported.images} images, {exported.files} files, {exported.size_bytes} bytes")
    for image_id in exported.left_out:
        say(f"misc: {image_id} is left out: something of it is damaged or missing; `misc admin fixity` names it.")
    for prefix in exported.missing:
        say(f"misc: the network {prefix}, which streams name, is not held; `misc admin closure` names the images.")
    if exported.left_out or exported.missing:
        raise typer.Exit(FAILED)


def _report_import(imported: "Imported", signer: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "images": imported.images,
                "there_already": imported.there_already,
                "networks": imported.networks,
                "conflicts": imported.conflicts,
                "signer": signer,
            }
        )
    else:
        by = "nobody signed it" if signer is None else f"signed by {signer}"
        show(f"{imported.images} images imported, {imported.there_already} were there already; {by}.")
    for image_id, reason in imported.conflicts.items():
        say(f"misc: {image_id} is not taken: {reason}.")
    if imported.conflicts:
        raise typer.Exit(FAILED)
