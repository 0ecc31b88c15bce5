"""`misc weights`: which networks are here, fetching and taking in more, and whether their digests hold."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.weights_pull import PULL_HELP, pull_weights
from cli.errors import FAILED, describe_error, fail_usage, failures, usage_errors
from cli.local.weights import JSONOption, PathOption, open_weights
from cli.output import byte_bar, print_json, say, show
from codec.options import Profile
from codec.weights.manifest import Part

if TYPE_CHECKING:
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


def register(app: typer.Typer) -> None:
    """Add the commands."""
    weights = typer.Typer(help=_HELP, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
    weights.command("list", help=_LIST_HELP)(list_weights)
    weights.command("pull", help=PULL_HELP)(pull_weights)
    weights.command("verify", help=_VERIFY_HELP)(verify_weights)
    weights.command("add", help=_ADD_HELP)(add_weights)
    weights.command("remove", help=_REMOVE_HELP)(remove_weights)
    app.add_typer(weights, name="weights")


def list_weights(path: PathOption = None, as_json: JSONOption = False) -> None:
    """List; the help text is `_LIST_HELP`."""
    store = open_weights(path)
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


def verify_weights(
    name: Annotated[str | None, typer.Argument(help="All that is here without it.")] = None,
    path: PathOption = None,
    as_json: JSONOption = False,
) -> None:
    """Verify; the help text is `_VERIFY_HELP`."""
    from codec.errors import WeightsError
    from codec.weights.store import State

    store = open_weights(path)
    results: list[dict[str, Any]] = []
    with usage_errors():
        names = [name] if name is not None else list(store.records())
        if name is not None and name not in store.released and name not in store.records():
            raise WeightsError(f"There are no weights {name!r}. `misc weights list` shows all names.")
    for one in names:
        size = store.records()[one].bytes if one in store.records() else 0
        try:
            with byte_bar(f"Hashing {one}", size) as bar:
                entry = store.verify(one, bar.add)
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

    store = open_weights(path)
    if not NAME.fullmatch(name):
        raise fail_usage(f"{name!r} cannot name weights: use lower-case letters, digits, '.', '_' and '-'.")
    if name not in store.released and (part is None or architecture is None):
        raise fail_usage(f"{name!r} is not a published name, so say its --part and --architecture.")
    try:
        with byte_bar(f"Taking in {name}", file.stat().st_size) as bar:
            record = store.add(
                file, name=name, part=part, architecture=architecture, profiles=(profile,) if profile else (),
                rate=rate, licence=Licence(licence, licence_link) if licence else None, is_linked=link,
                progress=bar.add, check=try_weights,
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

    store = open_weights(path)
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
