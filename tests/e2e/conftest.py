"""A real Chromium for the tests of the pages, and a look at all that they ask for."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.pages import CHROMIUM

Watch = Callable[[Any, str], Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser that reaches this machine only."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        # What a page, or the browser itself, would ask of another host fails at once.
        options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        opened = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Watches a page of a service: every request goes there, and no script fails."""
    asked: list[tuple[str, str]] = []
    faults: list[str] = []

    def _watch(page: Any, service: str) -> Any:
        page.on("request", lambda request: asked.append((service, request.url)))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if "Security Policy" in message.text else None)
        return page

    yield _watch
    assert faults == []
    assert asked
    foreign = [url for service, url in asked if not url.startswith((service, "blob:", "data:"))]
    assert foreign == []
