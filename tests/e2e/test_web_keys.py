"""The pages of a service with keys, in a real Chromium: asking for the key, and following a batch with it."""

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cli.commands.demo import isolated_environment
from cli.up.stack import EmbeddedStack
from core.database import Database
from core.owners import keys
from core.owners.keys import NewKey
from core.owners.scope import Scope
from core.settings import DatabaseSettings
from tests.e2e.conftest import Watch
from tests.e2e.pages import CHROMIUM, NO_CHROMIUM, drop, name_of, picture, until

PICTURES = 12

pytestmark = [pytest.mark.timeout(400), pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]

_SAMPLES = """
  window.bars = [];
  setInterval(() => {
    const bar = document.querySelector("#tray progress");
    if (bar !== null) window.bars.push(bar.value);
  }, 20);
"""
"""Keeps every value that the bar in the tray shows."""

_KEPT = """async () => {
  const kept = [document.cookie, location.href, JSON.stringify({ ...localStorage })];
  for (const { name } of await indexedDB.databases()) {
    const result = (request) => new Promise((resolve) => { request.onsuccess = () => resolve(request.result); });
    const opened = await result(indexedDB.open(name));
    for (const store of opened.objectStoreNames) {
      kept.push(JSON.stringify(await result(opened.transaction(store).objectStore(store).getAll())));
    }
    opened.close();
  }
  for (const name of await caches.keys()) kept.push(name);
  return kept.join("\\n");
}"""
"""All that outlives a tab."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    environment = isolated_environment(os.environ) | {"MISC_API_KEYS": "the-operator's"}
    with EmbeddedStack(tmp_path_factory.mktemp("keys") / "data", 0, environment=environment) as stack:
        stack.wait_ready()
        yield stack


@pytest.fixture(scope="module")
def database(stack: EmbeddedStack) -> Iterator[Database]:
    database = Database(DatabaseSettings(url=stack.environment["MISC_DATABASE_URL"]))
    yield database
    database.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """What one person's browser keeps."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


def _key(database: Database, name: str) -> str:
    with database.write() as session:
        return keys.create(session, NewKey(name, name, frozenset((Scope.READ, Scope.SUBMIT))))[1]


def _revoke(database: Database, name: str) -> None:
    with database.write() as session:
        keys.revoke(session, name)


def _enter(page: Any, key: str) -> None:
    page.get_by_role("dialog", name="This service needs a key").get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")


def test_key_is_asked_for_until_it_is_right_and_stays_in_its_tab(
    stack: EmbeddedStack, database: Database, context: Any, watch: Watch
) -> None:
    right, revoked = _key(database, "alice"), _key(database, "bob")
    _revoke(database, "bob")
    page, urls = watch(context.new_page(), stack.base_url), []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(f"{stack.base_url}/")
    dialog = page.get_by_role("dialog", name="This service needs a key")
    dialog.wait_for()
    fault = page.locator("#key-fault")
    assert fault.inner_text() == ""
    for wrong in ("misc_wrong", revoked):
        _enter(page, wrong)
        until(
            page,
            "document.getElementById('key-fault').textContent !== '' && document.getElementById('key-dialog').open",
        )
        assert fault.inner_text() == "That key is not known here."
        page.evaluate("document.getElementById('key-fault').textContent = ''")
    _enter(page, "ключ")  # no header can carry it
    assert dialog.is_visible()
    _enter(page, f" {right} ")
    page.get_by_text("Nothing yet. Drop pictures above.").wait_for()
    assert not dialog.is_visible() and page.locator("#key").input_value() == ""

    page.reload()
    page.get_by_text("Nothing yet. Drop pictures above.").wait_for()
    drop(page, [(name_of(1), picture(1))])
    page.get_by_text("1 of 1", exact=True).wait_for(timeout=120_000)
    page.get_by_role("link", name="Show them").click()
    page.locator(".tile a").click()
    page.get_by_text(re.compile("^Restored by")).wait_for(timeout=120_000)
    page.get_by_text("From a program").click()
    assert right not in page.content() and "$MISC_API_KEY" in page.get_by_label("curl lines", exact=True).inner_text()

    assert urls and not any(right in url or revoked in url for url in urls)
    assert right not in page.evaluate(_KEPT)
    other = watch(context.new_page(), stack.base_url)
    other.goto(f"{stack.base_url}/")
    other.get_by_role("dialog", name="This service needs a key").wait_for()
    other.close()

    _revoke(database, "alice")
    page.wait_for_timeout(1500)  # for a second the service remembers it
    page.get_by_role("link", name="Images").click()
    dialog.wait_for()
    assert fault.inner_text() == "That key is not known here."
    page.close()


def test_batch_is_followed_by_one_stream_through_a_reload_and_a_killed_service(
    stack: EmbeddedStack, database: Database, context: Any, watch: Watch
) -> None:
    key = _key(database, "carol")
    page, asked = watch(context.new_page(), stack.base_url), []
    page.on("request", lambda request: asked.append((request.method, request.url.removeprefix(stack.base_url))))
    page.add_init_script(_SAMPLES)
    page.goto(f"{stack.base_url}/")
    _enter(page, key)
    page.get_by_text("Nothing yet. Drop pictures above.").wait_for()
    drop(page, [(name_of(number), picture(number)) for number in range(PICTURES)])
    page.get_by_text(re.compile(f"^[2-9] of {PICTURES}")).wait_for(timeout=120_000)
    before = page.evaluate("window.bars")
    page.reload()
    until(page, "window.bars.some((value) => value > 0)")
    os.kill(stack.pids["api"], signal.SIGKILL)
    page.get_by_text(f"{PICTURES} of {PICTURES}", exact=True).wait_for(timeout=240_000)
    after = page.evaluate("window.bars")

    assert before == sorted(before) and after == sorted(after)
    assert 0 < before[-1] <= after[0] + 1e-6 and after[-1] == 1, "ids of events are millionths"
    [batch_id] = {match.group() for _, path in asked if (match := re.search("bat_[0-9a-z]+", path))}
    streams = asked.count(("GET", f"/v1/batches/{batch_id}/events"))
    looks = asked.count(("GET", f"/v1/batches/{batch_id}"))
    # One before the reload, one after it, and what it took to find the service again.
    assert 3 <= streams <= 20 and looks <= streams
    assert not [path for _, path in asked if path.startswith("/v1/jobs/")]
    with httpx.Client(base_url=stack.base_url, headers={"Authorization": f"Bearer {key}"}) as client:
        done = client.get(f"/v1/batches/{batch_id}").json()
    assert done["is_done"] and done["expected"] == done["counts"]["succeeded"] == PICTURES
    page.close()
