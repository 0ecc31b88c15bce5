"""Each command of ours in each environment that people have: it works, or ends with a sentence and the right status.

Never a traceback, never silence for more than 15 seconds. A few cells of `ENVIRONMENTS` are tried in every run; with
ENVIRONMENT_MATRIX=FILE all 210 are, and each writes a line into that file.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.up.stack import EmbeddedStack
from core.settings import DatabaseSettings
from migrations.upgrade import upgrade
from tests.e2e.environment_cells import COMMANDS, Ended, add_pictures, run_cell
from tests.e2e.environment_table import ENVIRONMENTS, Place, Refusal, Waiting, own_redis, table
from tests.integration.conftest import postgres_url

__all__ = ["postgres_url"]

pytestmark = pytest.mark.timeout(400)

SILENT_SECONDS = 15.0

_RESULTS = os.environ.get("ENVIRONMENT_MATRIX", "")

_ALWAYS = (
    ("odd names", "encode"),
    ("unknown user", "encode"),
    ("redis options", "doctor"),
    ("postgres latin1", "migrations"),
    ("wrong database", "api"),
    ("redis options", "workers"),
    ("store unreachable", "up"),
)
"""Of each command that needs no service beside it, in an environment of its own."""

_CELLS = [(name, command) for command in COMMANDS for name in ENVIRONMENTS] if _RESULTS else _ALWAYS


@pytest.fixture(scope="module")
def redis_server() -> Iterator[tuple[int, Path]]:
    with tempfile.TemporaryDirectory(prefix="misc-redis-") as folder, own_redis(Path(folder)) as server:
        Path(folder).chmod(0o755)
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a service that pictures are pushed to, in an ordinary environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MISC_")}
    with (
        tempfile.TemporaryDirectory(prefix="misc-server-") as folder,
        EmbeddedStack(Path(folder) / "data", port=0, environment=clean) as stack,
    ):
        stack.wait_ready(120)
        yield stack.base_url


@pytest.fixture(scope="module")
def migrated() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="misc-migrated-") as folder:
        upgrade(DatabaseSettings(url=f"sqlite:///{folder}/misc.db"))
        yield Path(folder) / "misc.db"


@pytest.fixture
def place(redis_server: tuple[int, Path], request: pytest.FixtureRequest) -> Iterator[Place]:
    # Not below pytest's own folder, which no other user may enter.
    folder = Path(tempfile.mkdtemp(prefix="misc-place-"))
    folder.chmod(0o755)
    add_pictures(folder)
    yield Place(folder, *redis_server, postgres=lambda: str(request.getfixturevalue("postgres_url")))
    shutil.rmtree(folder, ignore_errors=True)


def _base(command: str, place: Place, migrated: Path) -> dict[str, str]:
    """What every environment has: the parts of a service, except where `misc up` brings its own."""
    places = {"MISC_DATA": f"{place.folder}/data", "XDG_STATE_HOME": f"{place.folder}/state"}
    if command == "up":
        return places
    if command != "migrations":
        shutil.copy(migrated, place.folder / "misc.db")
    return places | {
        "MISC_DATABASE_URL": f"sqlite:///{place.folder}/misc.db",
        "MISC_BROKER_URL": f"redis+socket://{place.redis_socket}",
        "MISC_STORAGE_PATH": f"{place.folder}/objects",
    }


def _run(command: str, name: str, place: Place, migrated: Path, server: str) -> Ended:
    base, environment = _base(command, place, migrated), ENVIRONMENTS[name]
    awaited = environment.others.get(command)
    with environment.enter(place):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MISC_")}
        variables = clean | base | ({"MISC_SERVER": server} if command == "push" else {}) | place.variables
        ended = run_cell(
            command,
            place.folder,
            variables,
            before=place.before,
            root_path=place.root_path,
            served_word=awaited.word if isinstance(awaited, Waiting) else "",
        )
    if _RESULTS:
        with Path(_RESULTS).open("a") as file:
            print(json.dumps({"environment": name, "command": command, **vars(ended)}), file=file)
    return ended


@pytest.mark.parametrize(("name", "command"), [pytest.param(*cell, id="-".join(cell)) for cell in _CELLS])
def test_command_works_or_says_why_not(
    name: str, command: str, place: Place, migrated: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("server") if command == "push" else ""
    environment = ENVIRONMENTS[name]
    ended = _run(command, name, place, migrated, server)
    assert "Traceback" not in ended.output, ended.output
    assert "hidden" not in ended.output
    assert ended.silent_seconds <= SILENT_SECONDS, f"silent for {ended.silent_seconds:.0f} s: {ended.output}"
    refusal = environment.others.get(command)
    if isinstance(refusal, Refusal):
        assert (ended.status, ended.served) == (refusal.status, False), ended.output
        assert refusal.word in ended.output, ended.output
        if command not in ("doctor", "push", "encode"):
            assert len(ended.told) <= 3, ended.output
    elif command in ("up", "api", "workers"):
        assert ended.served, ended.output
        # The interface ends in good order, and then as the signal has it.
        assert ended.status in (0, -15, 143), (ended.status, ended.output)
        if command == "api":
            assert environment.ready in ended.ready, ended.ready
    else:
        assert ended.status == 0, ended.output


def test_documents_have_the_whole_table() -> None:
    page = (Path(__file__).parents[1] / "cases" / "README.md").read_text()
    assert table() in page, "run `python -m tests.e2e.environment_table`"
