"""`misc admin`: looks after an archive's storage and database. Works on both, not through a server."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands import closure
from cli.commands.admin_packs import PACKS_HELP, tell_packs
from cli.errors import FAILED
from cli.local.archive import DataOption
from cli.output import print_json, say, show, told_now_and_then

if TYPE_CHECKING:
    from cli.local.archive import Archive
    from core.archive.check import Finding, Report

_HELP = """Look after an archive: rebuild its database from storage, compare both, verify what is stored.

Works on the database of MISC_DATABASE_URL and the storage of MISC_STORAGE_*, else on those of the data folder. The \
service may run meanwhile.
"""

_REBUILD_HELP = """Make the database again from the records that lie beside the streams.

Makes the tables where there are none, and adds every image that is not there. Keys and quotas are not in storage: \
make them anew with `misc keys`.

Example: misc admin rebuild --data /srv/archive
"""

_CHECK_HELP = """Compare what the database says is in storage with what is there, both ways.

Exits with 1 when something is wrong and was not repaired, or a network is missing that streams need. Contents are \
not read; `misc admin fixity` does that.

Examples:

  misc admin check

  misc admin check --repair
"""

_FIXITY_HELP = """Say when the objects in storage were last read and held against their digests, and which are damaged.

Workers read every object once in MISC_FIXITY_PERIOD, and mend what is damaged from the mirror \
(MISC_STORAGE_MIRROR_*). With --verify all are read now, as fast as they come. Exits with 1 when an \
object is damaged or missing, or a network that streams need.

Examples:

  misc admin fixity

  misc admin fixity --verify --json
"""

_MOST_IN_PACKS = 1000
"""Streams and records in damaged packs that --json names."""

_SHOWN = 50
"""Findings that are shown to people; --json has all."""

JSONOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the command and its own."""
    admin = typer.Typer(help=_HELP, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
    admin.command("rebuild", help=_REBUILD_HELP)(rebuild_database)
    admin.command("check", help=_CHECK_HELP)(check_archive)
    admin.command("packs", help=PACKS_HELP)(tell_packs)
    admin.command("fixity", help=_FIXITY_HELP)(tell_fixity)
    closure.register(admin)
    app.add_typer(admin, name="admin")


def rebuild_database(
    unrecorded: Annotated[
        bool, typer.Option("--unrecorded", help="Take in streams without a record too, named by their digests.")
    ] = False,
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """Rebuild; the help text is `_REBUILD_HELP`."""
    from cli.local.archive import opened_archive
    from core.archive import networks, rebuild

    with opened_archive(data, makes_tables=True) as archive, _counted("records") as count:
        rebuilt = rebuild.rebuild(archive.database, archive.copies.storage, count)
        networks.enter_stored(archive.database, archive.copies.storage)
        if unrecorded:
            taken_in = rebuild.take_in(archive.database, archive.copies.storage, count)
            rebuilt.streams = taken_in.streams
            rebuilt.unreadable |= taken_in.unreadable
    if as_json:
        print_json({"images": rebuilt.images, "streams": rebuilt.streams, "unreadable": rebuilt.unreadable})
    else:
        show(f"{rebuilt.images} images restored, {rebuilt.streams} streams without a record taken in.")
    for reason in rebuilt.unreadable.values():
        say(f"misc: {reason}")
    if rebuilt.unreadable:
        raise typer.Exit(FAILED)


def check_archive(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """Check; the help text is `_CHECK_HELP`."""
    from cli.local.archive import opened_archive
    from core.archive.check import check

    with opened_archive(data) as archive, told_now_and_then(lambda: "comparing ..."):
        report = check(archive.database, archive.copies, mends=repair)
        missing = _missing_networks(archive)
    if as_json:
        print_json(_to_json(report) | missing)
    else:
        _show(report)
        closure.show_missing(missing)
    if not report.is_clean or missing["missing_networks"]:
        raise typer.Exit(FAILED)


def tell_fixity(
    verify: Annotated[bool, typer.Option("--verify", help="Read every object now, and mend what can be.")] = False,
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """Tell, or verify; the help text is `_FIXITY_HELP`."""
    from cli.local.archive import opened_archive
    from core.archive import deletions, fixity
    from core.archive.packs import members

    with opened_archive(data) as archive:
        outcomes = _verify_all(archive) if verify else None
        with archive.database.read() as session:
            standing = fixity.standing(session)
            damaged = fixity.damaged_keys(session, standing.damaged)
            retained = deletions.retained(session)
            in_packs = members.living_in_damaged(session, _MOST_IN_PACKS)
        has_mirror = archive.copies.mirror is not None
        missing = _missing_networks(archive)
    oldest = standing.oldest_verified_at
    document = {
        "objects": standing.objects,
        "damaged": damaged,
        "retained": retained.objects,
        "retained_until": retained.next_at and retained.next_at.isoformat(),
        "in_damaged_packs": [{"key": key, "pack": pack} for key, pack in in_packs],
        "never_verified": standing.never_verified,
        "oldest_verified_at": oldest and oldest.isoformat(),
        "unmirrored": standing.unmirrored if has_mirror else None,
        "outcomes": outcomes,
    } | missing
    if as_json:
        print_json(document)
    else:
        _show_fixity(document)
        closure.show_missing(missing)
    if damaged or missing["missing_networks"]:
        raise typer.Exit(FAILED)


def _missing_networks(archive: "Archive") -> dict[str, Any]:
    """An archive whose networks are gone is not whole, however good its objects are."""
    from cli.local.closure import closure_of

    return closure.missing_to_json(archive, closure_of(archive))


def _verify_all(archive: "Archive") -> dict[str, int]:
    """How many objects had which outcome."""
    from core.archive import fixity

    outcomes: Counter[str] = Counter()
    with _counted("objects") as count:
        for row in fixity.every(archive.database):
            outcomes[fixity.verify(archive.database, archive.copies, row).value] += 1
            count(1)
    return dict(sorted(outcomes.items()))


def _show_fixity(document: dict[str, Any]) -> None:
    damaged = document["damaged"]
    for key in damaged[:_SHOWN]:
        show(f"damaged  {key}")
    for member in document["in_damaged_packs"][:_SHOWN]:
        show(f"in it    {member['key']}")
    if document["outcomes"] is not None:
        show(", ".join(f"{count} {outcome}" for outcome, count in document["outcomes"].items()) or "nothing to read")
    counts = [f"{len(damaged)} damaged", f"{document['never_verified']} never verified"]
    if document["unmirrored"] is not None:
        counts.append(f"{document['unmirrored']} not in the mirror yet")
    if document["oldest_verified_at"] is not None:
        counts.append(f"all others verified since {document['oldest_verified_at'][:10]}")
    show(f"{document['objects']} objects: {', '.join(counts)}.")
    if document["retained"]:
        show(
            f"{document['retained']} deleted objects are still held by a lock of the store; the next is tried again at "
            f"{document['retained_until'][:16]}."
        )


def _to_json(report: "Report") -> dict[str, Any]:
    return {
        "objects": report.objects,
        "unrecorded": report.unrecorded,
        "findings": [
            {"key": finding.key, "kind": finding.kind, "fault": finding.fault, "repair": finding.repair}
            for finding in report.findings
        ],
    }


def _show(report: "Report") -> None:
    for finding in report.findings[:_SHOWN]:
        show(_line_of(finding))
    if len(report.findings) > _SHOWN:
        show(f"... and {len(report.findings) - _SHOWN} more")
    faults = Counter(finding.fault for finding in report.findings)
    found = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items())) or "nothing wrong"
    repaired = sum(finding.repair is not None for finding in report.findings)
    show(f"{report.objects} objects: {found}, {repaired} repaired.")
    if report.unrecorded:
        show(f"{report.unrecorded} images have no record yet; a worker writes them, or --repair.")


def _line_of(finding: "Finding") -> str:
    return f"{finding.fault:8} {finding.key}" + (f": {finding.repair}" if finding.repair else "")


@contextmanager
def _counted(what: str) -> Iterator[Callable[[int], None]]:
    """While the block runs, how many were looked at is told every ten seconds."""
    done = 0

    def _count(more: int) -> None:
        nonlocal done
        done += more

    with told_now_and_then(lambda: f"{done} {what} done"):
        yield _count
