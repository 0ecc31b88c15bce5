"""`misc keys signing`: the key that signs this archive's exports, and whose exports it takes."""

from typing import Annotated

import typer

from cli.errors import archive_usage_errors, fail_usage
from cli.local.archive import DataOption
from cli.local.signing import signing_key, signing_key_path, trusted_keys
from cli.output import print_json, say, show

_HELP = """The key that signs what `misc export` writes, and the keys of others whose exports `misc import` takes.

These are no keys of callers: nobody logs in with them. Tell other archives the public key over another way than the \
export's.

Examples:

  misc keys signing create

  misc keys signing trust 3b6a27bc...0da29 --name museum
"""

JSONOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(keys: typer.Typer) -> None:
    """Add the commands to those of `misc keys`."""
    signing = typer.Typer(help=_HELP, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
    signing.command("create", help="Make the archive's signing key. Its file is for its owner alone.")(create_key)
    signing.command("show", help="Print the public half of the archive's signing key.")(show_key)
    signing.command("trust", help="Take exports that this public key signed.")(trust_key)
    signing.command("distrust", help="Take no more exports of a signer, by name or public key.")(distrust_key)
    signing.command("list", help="List the trusted keys.")(list_keys)
    keys.add_typer(signing, name="signing")


def create_key(data: DataOption = None) -> None:
    """Make the key."""
    from core.archive.exchange.signature import SigningKey

    with archive_usage_errors(ValueError):
        path = signing_key_path(data)
        key = SigningKey.create(path)
    say(f"misc: {path} is the private key. Keep a copy where nobody else reads it. The public key, for others:")
    show(key.public)


def show_key(data: DataOption = None) -> None:
    """Show the public half."""
    with archive_usage_errors(ValueError):
        key = signing_key(data)
    if key is None:
        raise fail_usage("This archive has no signing key. `misc keys signing create` makes one.")
    show(key.public)


def trust_key(
    key: Annotated[str, typer.Argument(help="A public key: 64 digits of 0-9 and a-f.")],
    name: Annotated[str, typer.Option(help="Whose it is.")],
    data: DataOption = None,
) -> None:
    """Trust a key."""
    with archive_usage_errors(ValueError):
        trusted_keys(data).add(key, name)
    show(f"Exports that {name} signed are taken.")


def distrust_key(
    name: Annotated[str, typer.Argument(metavar="NAME|KEY", help="A signer's name, or a public key.")],
    data: DataOption = None,
) -> None:
    """Trust a key no more."""
    with archive_usage_errors(ValueError):
        removed = trusted_keys(data).remove(name)
    if not removed:
        raise fail_usage(f"No key of {name!r} is trusted. `misc keys signing list` shows all.")
    show(f"Exports that {name} signed are not taken any more.")


def list_keys(data: DataOption = None, as_json: JSONOption = False) -> None:
    """List the trusted keys, and the archive's own, which is always trusted."""
    with archive_usage_errors(ValueError):
        own = signing_key(data)
        trusted = trusted_keys(data).all()
    if as_json:
        print_json({"own": own and own.public, "trusted": [{"key": key, "name": trusted[key]} for key in trusted]})
        return
    if own is not None:
        show(f"{own.public}  (this archive)")
    for key, name in trusted.items():
        show(f"{key}  {name}")
    if own is None and not trusted:
        show("There is no signing key, and none is trusted.")
