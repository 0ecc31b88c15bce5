"""The pages of the documentation that are made from the code: commands, the HTTP interface, settings, changes.

Loaded by mkdocs as a hook (`mkdocs.yml`); the pages are in no folder, so none of them can be out of date.
"""

import inspect
import posixpath
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.core import TyperCommand, TyperGroup

ROOT = Path(__file__).resolve().parents[1]
# Loaded by its path, it sees only what is installed.
sys.path.insert(0, str(ROOT))

_METHODS = ("get", "post", "put", "patch", "delete")

_ELSEWHERE = re.compile(r"\[([^\]]*)\]\((\.\./[^)#]*)(?:#[^)]*)?\)")
"""A link of a page to something above it, maybe outside of the documentation."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; called by mkdocs before it reads any."""
    pages = {
        "commands": commands(),
        "http": http(),
        "settings": settings(),
        "changelog": changelog(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Files of the checkout that are no pages are named instead of linked: where the site lies they are not."""

    def _named(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), match.group(2)))
        if not target.startswith(".."):
            return match.group(0)
        return f"{match.group(1)} (`{target.removeprefix('../')}` of the checkout)"

    return _ELSEWHERE.sub(_named, markdown)


def commands() -> str:
    """Every command with its options, as `--help` tells them."""
    from cli.main import build_app

    group = typer.main.get_command(build_app())
    assert isinstance(group, TyperGroup)
    parts = ["# The `misc` command", group.help or ""]
    parts += [part for name, command in _commands_of(group) for part in _command(name, command)]
    return "\n\n".join(parts) + "\n"


def _commands_of(group: TyperGroup, prefix: str = "misc") -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands_of(command, f"{prefix} {name}")
        elif isinstance(command, TyperCommand):
            yield f"{prefix} {name}", command


def _command(name: str, command: TyperCommand) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield f"## `{name}`"
    yield _as_code(inspect.cleandoc(command.help or ""))
    yield f"```\n{name} {' '.join(command.collect_usage_pieces(context))}\n```"
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [_option(*record) for record in records if record is not None]
    if rows:
        yield "\n".join(["| option | what it does |", "|---|---|", *rows])


def _option(names: str, text: str) -> str:
    names, text = (" ".join(part.split()).replace("|", "\\|") for part in (names, text))
    return f"| `{names}` | {_escaped(text)} |"


def _as_code(text: str) -> str:
    """Lines that are commands in a help text, set as such."""
    return re.sub(r"^( *)(misc .*)$", r"    \2", text, flags=re.MULTILINE)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")


def changelog() -> str:
    """The changes of all versions, with links as they are from here."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](../")
    return re.sub(r"\]\((?=[A-Z])", "](../../", text)


def settings() -> str:
    """Every `MISC_*` variable by class, with its default."""
    from core.settings import ALL_SETTINGS
    from deploy.env_example import settings_of

    parts = [
        "# Settings",
        "Processes are configured by environment variables only. Durations are seconds (`90`) or ISO 8601 (`PT15M`).",
    ]
    for kind in ALL_SETTINGS:
        parts.append(f"## {kind.__name__}\n\n{(kind.__doc__ or '').splitlines()[0]}")
        rows = [
            f"| `{name}` | {f'`{default}`' if default else ''} | {_escaped(explanation)} |".replace("|'", "\\|'")
            for name, default, explanation in settings_of(kind)
        ]
        parts.append("\n".join(["| variable | default | what it is |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def http() -> str:
    """Every call of the interface with what it takes and answers, from the OpenAPI document."""
    document = _openapi()
    parts = ["# The HTTP interface", inspect.cleandoc(document["info"]["description"])]
    for path, calls in document["paths"].items():
        for method in _METHODS:
            if method in calls:
                parts += _call(f"{method.upper()} {path}", calls[method])
    return "\n\n".join(parts) + "\n"


def _openapi() -> dict[str, Any]:
    from api.app import create_app
    from api.services import Services
    from core.settings import APISettings, BrokerSettings, DatabaseSettings, StorageSettings, WorkerSettings, sqlite_url

    with tempfile.TemporaryDirectory(prefix="misc-docs-") as folder:
        # Nothing of these is reached: the document is made of types.
        services = Services.open(
            APISettings(),
            DatabaseSettings(url=sqlite_url(Path(folder) / "none.db")),
            BrokerSettings(url=f"redis+socket://{folder}/none.sock"),
            StorageSettings(path=Path(folder)),
            WorkerSettings(),
        )
        document: dict[str, Any] = create_app(services).openapi()
        return document


def _call(name: str, call: dict[str, Any]) -> Iterator[str]:
    yield f"## `{name}`"
    yield "\n\n".join(part for part in (call.get("summary", ""), inspect.cleandoc(call.get("description", ""))) if part)
    taken = [*map(_parameter, call.get("parameters", ())), *_body(call.get("requestBody", {}))]
    if taken:
        yield "\n".join(["| takes | where | what it is |", "|---|---|---|", *taken])
    rows = [
        f"| {status} | {', '.join(f'`{kind}`' for kind in answer.get('content', {}))} | {answer['description']} |"
        for status, answer in call["responses"].items()
    ]
    yield "\n".join(["| status | type | when |", "|---|---|---|", *rows])


def _parameter(parameter: dict[str, Any]) -> str:
    text = parameter.get("description") or parameter.get("schema", {}).get("description", "")
    return f"| `{parameter['name']}` | {parameter['in']} | {_escaped(' '.join(text.split()))} |"


def _body(body: dict[str, Any]) -> Iterator[str]:
    for media_type, content in body.get("content", {}).items():
        schema = content.get("schema", {})
        fields = schema.get("properties")
        if not fields:
            yield f"| body | `{media_type}` | {schema.get('$ref', '').rpartition('/')[2] or 'the file'} |"
        for name, field in (fields or {}).items():
            text = " ".join(str(field.get("description", "")).split())
            yield f"| `{name}` | `{media_type}` | {_escaped(text)} |"
