"""Looks at the jobs from outside while faults happen: when each ended, that progress never falls within an attempt, and
that nothing changes after its end."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from bench.chaos.clients import Client
from bench.chaos.ledger import FINAL_STATES, Ledger, Order

_INTERVAL_SECONDS = 0.4
_PAGE = 200


class Watcher:
    """One thread that lists the open jobs, and looks at those that are open no more."""

    def __init__(self, client: Client, ledger: Ledger, on_success: Callable[[Order], None]) -> None:
        """`on_success` is told of each encode that succeeded."""
        self._client, self._ledger, self._on_success = client, ledger, on_success
        self._progress: dict[str, tuple[tuple[str, int], float]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._over.wait(_INTERVAL_SECONDS):
            try:
                self._look()
            except (httpx.HTTPError, TimeoutError, ValueError, KeyError) as error:
                self._ledger.count(f"watcher: {type(error).__name__}")

    def _look(self) -> None:
        # Taken first: what is accepted after the lists were read is not missing in them.
        open_orders = self._ledger.open()
        listed = {job["id"]: job for state in ("running", "queued") for job in self._jobs(state)}
        for job in listed.values():
            self._check_progress(job)
        for order in open_orders:
            if order.job_id not in listed:
                self._look_at(order)

    def _jobs(self, state: str) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = []
        query: dict[str, str | int] = {"state": state, "limit": _PAGE}
        while True:
            page = self._client.get("/v1/jobs", **query).json()
            jobs += page["items"]
            if page["next_cursor"] is None:
                return jobs
            query["cursor"] = page["next_cursor"]

    def _look_at(self, order: Order) -> None:
        response = self._client.get(f"/v1/jobs/{order.job_id}")
        if response.status_code == 404:
            self._ledger.note(f"lost: the job {order.job_id} of {order.key} is not there any more")
            order.state, order.ended_at = "lost", time.monotonic()
            return
        job = response.json()
        if job["state"] in FINAL_STATES:
            self._ledger.end(order, job)
            if order.state == "succeeded" and order.decode_options is not None:
                self._on_success(order)
        else:
            self._check_progress(job)

    def _check_progress(self, job: dict[str, Any]) -> None:
        if job["state"] != "running":
            return
        attempt = (str(job["started_at"]), int(job["attempts"]))
        before = self._progress.get(job["id"])
        if before is not None and before[0] == attempt and job["progress"] < before[1]:
            self._ledger.note(f"{job['id']}: progress fell from {before[1]} to {job['progress']} within an attempt")
        self._progress[job["id"]] = (attempt, float(job["progress"]))
