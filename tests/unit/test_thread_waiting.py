"""How threads of PyTorch wait: said before it is imported, and only where nobody said otherwise."""

import pytest

from codec.thread_waiting import sleep_soon


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
    ids=["nothing", "a count", "a policy"],
)
def test_threads_sleep_soon_unless_openmp_was_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], spins: str | None
) -> None:
    environment = dict(given)
    monkeypatch.setattr("os.environ", environment)
    sleep_soon()
    assert environment.get("GOMP_SPINCOUNT") == spins
