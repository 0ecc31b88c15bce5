"""Every `misc` line of the documentation is one that the command takes: its subcommands, options and values exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from cli.main import build_app

_ROOT = Path(__file__).parents[3]

_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md")), _ROOT / "deploy" / "README.md"]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

_SHELL = {"", "sh", "bash", "console"}

_LEAST = 60
"""So many there were when this was written; fewer would mean that they are not found any more."""


def _lines() -> Iterator[tuple[str, str]]:
    """Each command with the page that has it, without what follows it in a pipe or is a comment."""
    for page in _PAGES:
        for language, block in _FENCE.findall(page.read_text()):
            if language not in _SHELL:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                command = re.sub(r"^(\$ |[A-Z_]+=\S+ )+", "", line.strip())
                if command.startswith("misc "):
                    yield page.name, command


def _parsed(arguments: list[str]) -> None:
    """Raise click.UsageError unless the command takes these arguments; nothing is done."""
    command: click.Command = typer.main.get_command(build_app())
    context: click.Context | None = None
    while isinstance(command, click.Group) and arguments:
        group = command.make_context(command.name or "misc", list(arguments), parent=context)
        name, found, arguments = command.resolve_command(group, [*group.protected_args, *group.args])
        assert found is not None, name
        command, context = found, group
    command.make_context(command.name or "misc", list(arguments), parent=context)


@pytest.mark.parametrize(("page", "line"), sorted(set(_lines())))
def test_documented_command_is_one_that_is_taken(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    for end, word in enumerate(words):
        if word in ("|", ">", ">>", "2>&1", "&", "&&") or word.startswith(">"):
            words = words[:end]
            break
    _parsed(words[1:])


def test_commands_of_the_documentation_are_found() -> None:
    assert len(set(_lines())) >= _LEAST
