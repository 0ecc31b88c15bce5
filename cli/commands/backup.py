"""`misc backup` and `misc restore`: the archive of `misc up` as one file. `cli.up.backup` does the work."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import FAILED, archive_failures, fail_usage
from cli.local.paths import data_folder
from cli.output import print_json, progress_bar, say, show

if TYPE_CHECKING:
    from cli.up.backup import Backup

_BACKUP_HELP = """Write the archive of misc up to one tar, while it runs or not.

Everything that the database knows at that moment is in it: streams, kept originals, reconstructions, descriptions, \
keys. Damaged objects are left out, named, and end the command with 1.

Example: misc backup archive.tar
"""

_RESTORE_HELP = """Make an archive of misc up again from a tar that misc backup wrote.

Every digest is checked before anything is put into the folder. A service that runs there is refused.

Example: misc restore archive.tar --data ~/misc-data && misc up --data ~/misc-data
"""

DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", envvar="MISC_DATA", help="The folder of misc up.")
]
JSONOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

_ELSEWHERE = ("MISC_DATABASE_URL", "MISC_STORAGE_BACKEND", "MISC_STORAGE_PATH")


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("backup", help=_BACKUP_HELP)(backup)
    app.command("restore", help=_RESTORE_HELP)(restore)


def backup(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The tar; one that is there is replaced.")],
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """Write a backup; the help text is `_BACKUP_HELP`."""
    from cli.up.backup import count_objects, write_backup
    from cli.up.data_folder import DataFolder, StackError

    _check_embedded()
    folder = DataFolder((data or data_folder()).resolve())
    if out.is_dir():
        raise fail_usage(f"{out} is a folder; name a file in it.")
    with archive_failures(StackError), progress_bar(count_objects(folder), "Saving") as bar:
        made = write_backup(folder, out, bar.advance)
    _report(out, made, as_json, "are damaged or gone and not in it")


def restore(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The tar.")],
    data: DataOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Move an archive that is there aside.")] = False,
    as_json: JSONOption = False,
) -> None:
    """Restore a backup; the help text is `_RESTORE_HELP`."""
    from cli.up.backup import read_backup
    from cli.up.data_folder import DataFolder, StackError

    _check_embedded()
    folder = DataFolder((data or data_folder()).resolve())
    with archive_failures(StackError), _quiet_bar() as note:
        made = read_backup(source, folder, replaces=replace, on_object=note)
    _report(folder.path, made, as_json, "were not in the backup")


def _check_embedded() -> None:
    named = next((name for name in _ELSEWHERE if os.environ.get(name)), None)
    if named is not None:
        raise fail_usage(
            f"{named} is set, so the archive is not in one folder. Save its database and store by their own tools."
        )


@contextmanager
def _quiet_bar() -> Iterator[Callable[[str], None]]:
    """How many there will be is not known before the end."""
    with progress_bar(1, "Restoring") as bar:
        yield bar.advance


def _report(place: Path, made: "Backup", as_json: bool, what_of_lost: str) -> None:
    for key in made.lost[:10]:
        say(f"{key}")
    if made.lost:
        say(f"misc: {len(made.lost)} objects {what_of_lost}.")
    if as_json:
        print_json({"path": str(place), "objects": made.objects, "bytes": made.size_bytes, "lost": list(made.lost)})
    else:
        show(f"{place}: {made.objects} objects, {made.size_bytes} bytes of tar")
    if made.lost:
        raise typer.Exit(FAILED)
