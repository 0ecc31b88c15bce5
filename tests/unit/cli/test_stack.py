"""How the embedded stack lays out its data folder and environment, and what it refuses; no service is started."""

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.commands.demo import isolated_environment
from cli.up.data_folder import DataFolderInUse, StackError
from cli.up.embedded_redis import redis_answers, redis_binary
from cli.up.settings import check_settings
from cli.up.stack import EmbeddedStack, PortInUse


@pytest.fixture
def environment() -> dict[str, str]:
    return isolated_environment(os.environ)


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_everything_lies_in_the_data_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    stack = EmbeddedStack(tmp_path / "data", 0, environment=environment)

    made = stack._make_environment()

    assert made["MISC_DATABASE_URL"] == f"sqlite:///{tmp_path}/data/misc.db"
    assert made["MISC_STORAGE_PATH"] == f"{tmp_path}/data/objects"
    assert made["MISC_API_HOST"] == "127.0.0.1"


def test_configured_parts_win_over_embedded_ones(tmp_path: Path, environment: dict[str, str]) -> None:
    outside = {
        "MISC_DATABASE_URL": "postgresql+psycopg://db/misc",
        "MISC_BROKER_URL": "redis://broker:6379/0",
        "MISC_STORAGE_BACKEND": "s3",
        "MISC_WORKER_SOFT_SHUTDOWN": "PT2S",
    }
    stack = EmbeddedStack(tmp_path, 0, environment=environment | outside)

    made = stack._make_environment()

    assert made.items() >= outside.items()


def test_demo_sees_none_of_the_outer_settings() -> None:
    outside = {"MISC_DATABASE_URL": "postgresql+psycopg://db/misc", "MISC_API_KEYS": "k", "PATH": "/bin"}

    assert isolated_environment(outside) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::1", "http://[::1]:8123"),
        ("::", "http://[::1]:8123"),
        ("archive.example", "http://archive.example:8123"),
    ],
)
def test_address_can_be_called_whatever_is_listened_on(tmp_path: Path, host: str, address: str) -> None:
    stack = EmbeddedStack(tmp_path, 0)
    stack.environment, stack.port = {"MISC_API_HOST": host}, 8123

    assert stack.base_url == address
    with stack.client():
        pass


def test_wrong_settings_are_named_before_anything_is_started(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddedStack, "_start_redis", lambda _: pytest.fail("a child was started"))
    wrong = {"MISC_WORKER_LEASE": "soon", "MISC_API_MAX_PIXELS": "0"}
    stack = EmbeddedStack(tmp_path, 0, environment=environment | wrong)

    with pytest.raises(StackError, match=r"MISC_API_MAX_PIXELS: .*MISC_WORKER_LEASE: "):
        stack.start()

    assert stack.pids == {}


def test_settings_are_those_of_the_children_and_not_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISC_WORKER_LEASE", "soon")

    check_settings({"MISC_WORKER_LEASE": "PT20S", "MISC_API_KEYS": "a,b"})
    check_settings({})
    with pytest.raises(StackError, match="MISC_LOG_LEVEL"):
        check_settings({"MISC_WORKER_LEASE": "20", "MISC_LOG_LEVEL": "loud"})


def test_busy_port_is_refused_and_the_folder_is_free_again(
    tmp_path: Path, environment: dict[str, str], busy_port: int
) -> None:
    stack = EmbeddedStack(tmp_path / "data", busy_port, environment=environment)

    for _ in range(2):
        with pytest.raises(PortInUse, match=str(busy_port)):
            stack.start()

    assert stack.pids == {}


def test_locked_folder_is_refused_with_its_holder(tmp_path: Path, environment: dict[str, str]) -> None:
    with (tmp_path / "lock").open("w") as holder:
        holder.write("4711\n")
        holder.flush()
        fcntl.flock(holder, fcntl.LOCK_EX)

        with pytest.raises(DataFolderInUse, match="process 4711"):
            EmbeddedStack(tmp_path, 0, environment=environment).start()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StackError, match="Name another"):
        EmbeddedStack(tmp_path / "file" / "data", 0, environment=environment).start()


def test_stopping_what_never_started_is_harmless(tmp_path: Path, environment: dict[str, str]) -> None:
    stack = EmbeddedStack(tmp_path, 0, environment=environment)

    stack.stop()
    stack.stop()


def test_redis_of_the_package_is_a_program() -> None:
    assert os.access(redis_binary(), os.X_OK)


def test_socket_without_redis_does_not_answer(tmp_path: Path) -> None:
    assert not redis_answers(tmp_path / "redis.sock")
