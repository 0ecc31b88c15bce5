"""The documentation as a site: built strictly, with a reference that the code makes, and nothing from elsewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parents[3]

_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("site") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", target],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    yield target


class _Loads(HTMLParser):
    """The addresses that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(_LOADED.get(tag, ""))
        if address is not None:
            self.addresses.append(address)


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.addresses, page
        assert not [address for address in loads.addresses if re.match(r"(https?:)?//", address)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_reference_has_every_command_every_call_and_every_setting(site: Path) -> None:
    from cli.main import build_app
    from core.settings import ALL_SETTINGS
    from deploy.env_example import settings_of

    reference = site / "reference"
    commands, http, settings = (
        (reference / f"{name}.html").read_text(encoding="utf-8") for name in ("commands", "http", "settings")
    )
    group = typer.main.get_command(build_app())
    assert isinstance(group, typer.core.TyperGroup)
    names = list(group.commands)
    assert {"encode", "export", "import", "admin"} <= set(names)
    assert all(f"<code>misc {name}" in commands for name in names)
    assert "--fallback" in commands and "failure, the built-in describer, or no texts" in commands
    for kind in ALL_SETTINGS:
        assert all(f"<code>{name}</code>" in settings for name, _, _ in settings_of(kind))
    for call in ("POST /v1/images", "GET /v1/jobs/{job_id}/events", "POST /v1/bitstreams"):
        assert f"<code>{call}</code>" in http
    assert "idempotency-key" in http.lower()


def test_every_file_of_the_documentation_is_a_page(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page
