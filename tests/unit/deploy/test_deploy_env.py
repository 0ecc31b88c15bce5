"""`.env.example` against the settings classes, in both directions."""

import re
import sys
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from core.settings import ALL_SETTINGS

DEPLOY = Path(__file__).parents[3] / "deploy"
sys.path.insert(0, str(DEPLOY))
import env_example  # noqa: E402

_LINE = re.compile(r"#?(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")
_SETTINGS = {
    f"{kind.model_config.get('env_prefix', '')}{name}".upper(): (kind, name)
    for kind in ALL_SETTINGS
    for name in kind.model_fields
}


def lines() -> list[str]:
    return (DEPLOY / ".env.example").read_text().splitlines()


def listed() -> dict[str, str]:
    """Every variable of the file with the value it is listed with; the last one counts."""
    return {found["name"]: found["value"] for line in lines() if (found := _LINE.fullmatch(line))}


def test_file_is_what_the_settings_make_of_it() -> None:
    assert (DEPLOY / ".env.example").read_text() == env_example.render(), "run: .venv/bin/python deploy/env_example.py"


def test_every_setting_is_listed() -> None:
    assert set(_SETTINGS) - set(listed()) == set()


def test_every_listed_variable_is_a_setting_or_read_by_the_compose_files() -> None:
    compose = "".join((DEPLOY / name).read_text() for name in ("compose.yaml", "compose.gpu.yaml"))
    others = set(listed()) - set(_SETTINGS)
    assert {name for name in others if f"${{{name}:" not in compose} == set()
    assert not any(name.startswith("MISC_") for name in others)


def test_every_variable_that_the_compose_files_read_is_listed() -> None:
    for name in ("compose.yaml", "compose.gpu.yaml"):
        read = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / name).read_text()))
        assert read - set(listed()) == set()


def test_all_classes_together_name_each_variable_once() -> None:
    names = [f"{k.model_config.get('env_prefix', '')}{n}".upper() for k in ALL_SETTINGS for n in k.model_fields]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", ALL_SETTINGS)
def test_listed_values_are_the_defaults(kind: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
    defaults = kind()
    for name, value in listed().items():
        if value:
            monkeypatch.setenv(name, value)
    assert kind() == defaults


def test_every_variable_has_a_line_that_says_what_it_is_for() -> None:
    for before, line in zip(lines(), lines()[1:], strict=False):
        if _LINE.fullmatch(line):
            assert re.fullmatch(r"# .{3,}\.", before), line


def test_secrets_have_no_value_that_somebody_could_leave_as_it_is() -> None:
    top = [found for line in lines() if not line.startswith("#") and (found := _LINE.fullmatch(line))]
    assert {found["name"] for found in top} == set(env_example.SECRETS)
    assert {found["value"] for found in top} == {""}
