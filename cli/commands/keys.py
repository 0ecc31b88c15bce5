"""`misc keys`: the keys of an archive and what their owners may use up. Works on the database, not through a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands import signing
from cli.local.archive import DataOption
from cli.output import print_json, say, show
from core.owners.scope import Scope

if TYPE_CHECKING:
    from core.database import Session
    from core.owners.quotas import Limits
    from models.api_key import APIKey

_HELP = """Make, list and revoke the keys of an archive.

What comes in with a key belongs to the key's owner, and other owners' keys do not see it. Keys in MISC_API_KEYS are \
the operator's and see everything. Once a key was made, every call needs one.

Works on the database of MISC_DATABASE_URL, else on that of the data folder.

Example: misc keys create alice --pictures-a-day 500
"""

_CREATE_HELP = """Make a key. It is printed once and kept nowhere.

Without --owner the key makes an owner of its own name; several keys may have the same owner. Quotas are the owner's: \
all of its keys use them up together, from midnight to midnight UTC.

Examples:

  misc keys create alice

  misc keys create alice-phone --owner alice --scope submit --days 30

  misc keys create robot --pictures-a-day 1000 --bytes-a-day 2000000000 --money-a-day 0.5
"""

_QUOTA_HELP = """Set what an owner may use up in a day, in the place of what was set before. Without options nothing \
is limited.

Example: misc keys quota alice --pictures-a-day 500
"""

JSONOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
PicturesOption = Annotated[int | None, typer.Option(min=0, help="Most pictures and streams that are taken in a day.")]
BytesOption = Annotated[int | None, typer.Option(min=0, help="Most bytes of them in a day.")]
MoneyOption = Annotated[
    float | None,
    typer.Option(min=0, help="Most money for descriptions in a day, in the currency of the configured prices."),
]


def register(app: typer.Typer) -> None:
    """Add the command and its own."""
    keys = typer.Typer(help=_HELP, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
    keys.command("create", help=_CREATE_HELP)(create_key)
    keys.command("list", help="List the keys that are not revoked, or all.")(list_keys)
    keys.command("revoke", help="Revoke keys by name or id. They stop within a second.")(revoke_keys)
    keys.command("quota", help=_QUOTA_HELP)(set_quota)
    signing.register(keys)
    app.add_typer(keys, name="keys")


def create_key(
    name: Annotated[str, typer.Argument(help="A name for the key.")],
    owner: Annotated[str | None, typer.Option(help="Whose it is; the name where this is left out.")] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="read, submit, or admin (everything, of every owner); may be repeated. read and submit."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Ends after so many days; else never.")] = None,
    pictures_a_day: PicturesOption = None,
    bytes_a_day: BytesOption = None,
    money_a_day: MoneyOption = None,
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """Make a key; the help text is `_CREATE_HELP`."""
    from core.owners import keys, quotas

    limits = _limits(pictures_a_day, bytes_a_day, money_a_day)
    new = keys.NewKey(
        name,
        owner or name,
        frozenset(scope or (Scope.READ, Scope.SUBMIT)),
        None if days is None else timedelta(days=days),
    )
    with _transaction(data) as session:
        row, key = keys.create(session, new)
        if limits != quotas.Limits():
            quotas.set_limits(session, new.owner, limits)
        document = _to_json(row) | {"key": key}
    if as_json:
        print_json(document)
        return
    say(f"misc: {_line_of(document)}. Keep the key: it is not shown again.")
    show(key)


def list_keys(
    with_revoked: Annotated[bool, typer.Option("--all", help="Those that were revoked too.")] = False,
    data: DataOption = None,
    as_json: JSONOption = False,
) -> None:
    """List keys with their owners' quotas and what is used of them today."""
    from core.owners import keys, quotas

    with _transaction(data) as session:
        found = [_to_json(row) for row in keys.list_keys(session, with_revoked=with_revoked)]
        owners = sorted({entry["owner"] for entry in found})
        standings = {owner: quotas.standing_of(session, owner) for owner in owners}
    today = {owner: _standing_to_json(standing) for owner, standing in standings.items()}
    if as_json:
        print_json({"keys": found, "owners": today})
        return
    for entry in found:
        show(_line_of(entry))
    for owner, used in today.items():
        if any(used["limits"].values()):
            show(f"owner {owner} today: {_used(used)}")
    if not found:
        show("There are no keys.")


def revoke_keys(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or ids of keys.")],
    data: DataOption = None,
) -> None:
    """Revoke keys."""
    from core.owners import keys

    with _transaction(data) as session:
        rows = [_to_json(keys.revoke(session, name)) for name in names]
    for row in rows:
        show(f"{row['name']} ({row['id']}) is revoked.")


def set_quota(
    owner: Annotated[str, typer.Argument(help="Whose quota it is.")],
    pictures_a_day: PicturesOption = None,
    bytes_a_day: BytesOption = None,
    money_a_day: MoneyOption = None,
    data: DataOption = None,
) -> None:
    """Set an owner's quota; the help text is `_QUOTA_HELP`."""
    from core.owners import quotas

    with _transaction(data) as session:
        quotas.set_limits(session, owner, _limits(pictures_a_day, bytes_a_day, money_a_day))
        used = _standing_to_json(quotas.standing_of(session, owner))
    show(f"owner {owner} today: {_used(used)}")


@contextmanager
def _transaction(data: Path | None) -> Iterator["Session"]:
    """A transaction on the archive's database; what is wrong with it or with the call is said in one sentence."""
    from cli.local.archive import opened_database

    with opened_database(data) as database, database.write() as session:
        yield session


def _limits(pictures: int | None, size_bytes: int | None, money: float | None) -> "Limits":
    from core.owners.quotas import BILLION, Limits

    return Limits(pictures, size_bytes, None if money is None else round(money * BILLION))


def _to_json(row: "APIKey") -> dict[str, Any]:
    moments = {"created_at": row.created_at, "expires_at": row.expires_at, "revoked_at": row.revoked_at}
    return {"id": row.id, "name": row.name, "owner": row.owner, "scopes": row.scopes} | {
        name: None if moment is None else moment.isoformat() for name, moment in moments.items()
    }


def _standing_to_json(standing: Any) -> dict[str, Any]:
    from core.owners.quotas import BILLION

    limits, usage = standing.limits, standing.usage
    return {
        "day": standing.day,
        "limits": {
            "pictures": limits.pictures,
            "bytes": limits.bytes,
            "money": None if limits.money is None else limits.money / BILLION,
        },
        "used": {"pictures": usage.pictures, "bytes": usage.bytes, "money": (usage.spent + usage.reserved) / BILLION},
    }


def _line_of(key: dict[str, Any]) -> str:
    owner = "" if key["owner"] == key["name"] else f" of {key['owner']}"
    ends = f", ends {key['expires_at'][:10]}" if key["expires_at"] else ""
    revoked = f", revoked {key['revoked_at'][:10]}" if key["revoked_at"] else ""
    return f"{key['name']}{owner} ({key['id']}): {', '.join(key['scopes'])}{ends}{revoked}"


def _used(standing: dict[str, Any]) -> str:
    return ", ".join(
        f"{standing['used'][what]:g} {what}" + (" (no limit)" if limit is None else f" of {limit:g}")
        for what, limit in standing["limits"].items()
    )
