"""`misc admin packs`: tells what lies in packs, makes them, and takes them apart."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.local.archive import DataOption
from cli.output import print_json, show, told_now_and_then

if TYPE_CHECKING:
    from cli.local.archive import Archive
    from core.archive.packs.members import PackState

PACKS_HELP = """Say what lies in packs, and how many of their bytes are dead.

Workers pack streams and records by MISC_PACK_*. With --pack what is old and small enough is packed now, even if it \
fills no pack, and packs with too many dead bytes are rewritten. With --unpack all packs are taken apart again; set \
MISC_PACK_POLICY=off before, so that workers do not pack anew.

Examples:

  misc admin packs

  misc admin packs --pack

  misc admin packs --json
"""


def tell_packs(
    pack: Annotated[bool, typer.Option("--pack", help="Pack and rewrite now.")] = False,
    unpack: Annotated[bool, typer.Option("--unpack", help="Make objects of their own of all streams again.")] = False,
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Tell, pack or unpack; the help text is `PACKS_HELP`."""
    from cli.errors import fail_usage
    from cli.local.archive import opened_archive
    from core.archive.packs import members

    if pack and unpack:
        raise fail_usage("--pack and --unpack contradict each other.")
    with opened_archive(data) as archive:
        if pack:
            _pack(archive)
        if unpack:
            _unpack(archive)
        with archive.database.read() as session:
            packs = members.packs(session)
    if as_json:
        print_json({"packs": [state._asdict() for state in packs]})
    else:
        _show(packs)


def _pack(archive: "Archive") -> None:
    from core.archive.packs import packer
    from core.archive.packs.loose_copies import sweep_copies
    from core.settings import PackSettings, load

    settings = load(PackSettings)
    with told_now_and_then(lambda: "packing ..."):
        while packer.rewrite(archive.database, archive.copies, settings):
            pass
        while packer.pack_loose(archive.database, archive.copies, settings, fills=False):
            pass
        sweep_copies(archive.database, archive.copies.as_one())


def _unpack(archive: "Archive") -> None:
    from core.archive import deletions
    from core.archive.packs import members, packer

    taken = 0
    with told_now_and_then(lambda: f"{taken} streams and records taken out ..."):
        with archive.database.read() as session:
            keys = [state.key for state in members.packs(session)]
        for key in keys:
            taken += packer.unpack(archive.database, archive.copies, key)
        packer.drop_empty(archive.database)
        deletions.sweep(archive.database, archive.copies.as_one())


def _show(packs: "list[PackState]") -> None:
    for state in packs:
        dead = f", {state.dead} dead ({_share(state):.0%} of its bytes)" if state.dead else ""
        show(f"{state.key}: {state.size_bytes} bytes, {state.live} live{dead}{', damaged' if state.is_damaged else ''}")
    totals: dict[str, Any] = {
        name: sum(getattr(state, name) for state in packs) for name in ("live", "live_bytes", "dead", "dead_bytes")
    }
    show(
        f"{len(packs)} packs: {totals['live']} streams and records ({totals['live_bytes']} bytes), "
        f"{totals['dead']} dead ({totals['dead_bytes']} bytes)."
    )


def _share(state: "PackState") -> float:
    return state.dead_bytes / max(1, state.size_bytes)
