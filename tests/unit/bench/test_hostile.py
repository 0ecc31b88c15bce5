"""What `bench.hostile` finds fault with."""

from typing import Any

from bench.hostile.figures import findings


def _figures(**changes: Any) -> dict[str, Any]:
    return {
        "answers": {"202": 100, "429": 50, "503": 2, "/healthz 200": 40, "/v1/jobs 200": 40},
        "submit_p99_seconds": 0.4,
        "healthz_p99_seconds": 0.1,
        "jobs_p99_seconds": 0.2,
        "api_memory_settled_mib": 300.0,
        "api_memory_largest_mib": 320.0,
        "unfinished": 0,
    } | changes


def test_refusing_is_no_fault() -> None:
    assert findings(_figures()) == []


def test_what_was_taken_has_to_be_finished_and_in_time() -> None:
    found = findings(_figures(unfinished=1, submit_p99_seconds=2.0, api_memory_largest_mib=600.0))
    assert len(found) == 3


def test_undeliberate_answers_and_broken_connections_are_found() -> None:
    assert len(findings(_figures(answers={"202": 1, "500": 1, "ReadError": 2, "/healthz ReadTimeout": 1}))) == 3
