"""Whether a server is ready, and whether its queues are served."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from cli.doctor.check import Check

if TYPE_CHECKING:
    from cli.server.client import Client

_PROBE_SECONDS = 20.0
"""Longer than a lost wake-up takes to be sent again."""

_CLOCK_SECONDS = 5.0
"""Leases last 30 s and are compared between machines; clocks further apart than this are worth a word."""


def server_checks(client: "Client") -> Iterator[Check]:
    """Whether a server is ready, and whether each of its queues is served."""
    from cli.server.client import ClientError

    try:
        answer = client.get("/readyz", any_status=True)
    except ClientError as error:
        yield Check("server", False, str(error), "Start one with `misc up`, or name another with --server.")
        return
    if answer.status_code != 200:
        yield Check("server", False, f"{client.server} is not ready: {answer.text[:300]}", "See the server's log.")
        return
    yield Check("server", True, f"{client.server} is ready")
    yield _clock_of(answer.headers.get("date"))
    for queue in ("encode", "decode", "maintenance"):
        yield _probe(client, queue)


def _clock_of(date_header: str | None) -> Check:
    if date_header is None:
        return Check("server clock", False, "the server does not tell its time", is_essential=False)
    apart = abs(parsedate_to_datetime(date_header).timestamp() - time.time())
    return Check(
        "server clock", apart <= _CLOCK_SECONDS, f"{apart:.0f} s from this machine's", "Set both clocks by NTP.",
        is_essential=False,
    )  # fmt: skip


def _probe(client: "Client", queue: str) -> Check:
    from cli.server.client import ClientError

    started = time.monotonic()
    try:
        job_id = client.submit_probe(queue)
        job = client.wait_for_job(job_id, timeout_seconds=_PROBE_SECONDS)
    except ClientError as error:
        return Check(f"queue {queue}", False, str(error), f"See whether a worker for {queue} runs, and its log.")
    seconds = time.monotonic() - started
    return Check(
        f"queue {queue}", job["state"] == "succeeded", f"a probe job {job['state']} after {seconds:.2f} s",
        "See the worker's log.",
    )  # fmt: skip
