"""Talks to a server: retries what may be retried, turns problem documents into one kind of error, follows pages.

Prints nothing; the commands do that.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from codec.atomic_files import replacing
from codec.loopback import is_loopback
from codec.media import BINARY, MISC

DEFAULT_SERVER = "http://127.0.0.1:8000"

_ATTEMPTS = 5
"""Tries of one request; with the waits about 8 s, in which a server restarts."""

_FIRST_WAIT_SECONDS, _LAST_WAIT_SECONDS = 0.25, 5.0

_BUSY = frozenset({429, 502, 503, 504})

_IN_FLIGHT = "idempotency_in_flight"

_QUOTA_REACHED = "quota_reached"
"""Ends at midnight: nothing to wait for."""

_PAGE_SIZE = 200

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})


class ClientError(Exception):
    """What a server refused, or that it cannot be reached. `code` is the server's; the message is a sentence."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class ServerUnreachable(ClientError):
    """Nothing answers at the address."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(
            "server_unreachable",
            f"No server answers at {server} ({reason}). Start one with `misc up`, or name it with --server.",
        )


@dataclass(frozen=True)
class Upload:
    """A picture to be sent: the file, the name it shall have, and the key that makes sending it twice harmless."""

    path: Path
    name: str
    idempotency_key: str


class Client:
    """One server. May be used from many threads; a context manager that gives its connections back.

    `patience_seconds`: for how long a server that answered before is waited for when it is restarted or busy.
    """

    patience_seconds = 0.0

    def __init__(self, server: str | None = None, key: str | None = None, timeout_seconds: float = 60.0) -> None:
        """`server` falls back to MISC_SERVER, `key` to MISC_API_KEY."""
        self.server = (server or os.environ.get("MISC_SERVER") or DEFAULT_SERVER).strip().rstrip("/")
        # Secrets in files end with a line break, which no header can have.
        key = (key or os.environ.get("MISC_API_KEY") or "").strip() or None
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._has_answered = False
        _check_address(self.server)
        try:
            self._http = httpx.Client(
                base_url=self.server,
                headers=headers,
                timeout=timeout_seconds,
                # A transport of its own takes no proxy from the environment.
                transport=httpx.HTTPTransport() if is_loopback(self.server) else None,
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ClientError(
                "proxy_invalid",
                f"The proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used ({error}). Correct the variable, or "
                "name this server in NO_PROXY.",
            ) from None

    def __enter__(self) -> Self:
        """Use it in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the connections back."""
        self._http.close()

    def why_not_ready(self) -> str | None:
        """One look at /readyz, without retries: None when it is, else what it lacks."""
        try:
            answer = self._http.get("/readyz", timeout=5)
        except httpx.TransportError as error:
            return f"it does not answer ({str(error) or type(error).__name__})"
        return None if answer.status_code == 200 else f"{answer.status_code} {' '.join(answer.text.split())[:200]}"

    def get(self, path: str, *, any_status: bool = False, **query: Any) -> httpx.Response:
        """GET with retries; raises ClientError unless `any_status`."""
        params = {name: value for name, value in query.items() if value is not None}
        return self._send(lambda: self._http.get(path, params=params), any_status=any_status, may_repeat=True)

    def submit_picture(self, upload: Upload, options: Mapping[str, Any]) -> dict[str, Any]:
        """Send one picture; returns the answer's `image` and `job`. `replayed` says that it had been sent before."""

        def _post() -> httpx.Response:
            # Opened for each try: a file that was half read by a broken one starts over.
            with upload.path.open("rb") as file:
                return self._http.post(
                    "/v1/images",
                    files={"file": (upload.name, file, "application/octet-stream")},
                    data={"options": json.dumps(dict(options))},
                    headers={"Idempotency-Key": upload.idempotency_key},
                )

        response = self._send(_post, may_repeat=True)
        return dict(response.json()) | {"replayed": response.headers.get("idempotency-replayed") == "true"}

    def import_bitstream(
        self, upload: Upload, reference: Path | None = None, metadata: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Have a stream taken in, with the picture that an external one names and what is to be kept of when and where
        its picture was taken: `image`, and whether it `is_new`."""
        said = {} if metadata is None else {"metadata": json.dumps(dict(metadata))}

        def _post() -> httpx.Response:
            with ExitStack() as opened:
                files = {"file": (upload.name, opened.enter_context(upload.path.open("rb")), MISC)}
                if reference is not None:
                    files["reference"] = (reference.name, opened.enter_context(reference.open("rb")), BINARY)
                return self._http.post(
                    "/v1/bitstreams", files=files, data=said, headers={"Idempotency-Key": upload.idempotency_key}
                )

        response = self._send(_post, may_repeat=True)
        return dict(response.json()) | {"is_new": response.status_code == 201}

    def workers(self) -> list[dict[str, Any]]:
        """The worker processes of the server."""
        return list(self.get("/v1/workers").json()["items"])

    def drain(self, worker_id: str, *, is_wanted: bool) -> dict[str, Any]:
        """Have a worker take no more jobs, or take jobs again; returns it."""
        path = path_of("workers", worker_id, "drain" if is_wanted else "resume")
        return dict(self._send(lambda: self._http.post(path), may_repeat=True).json())

    def image(self, image_id: str) -> dict[str, Any]:
        """One image."""
        return dict(self.get(path_of("images", image_id)).json())

    def images(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        """All images, newest first, over as many pages as there are."""
        return self._pages("/v1/images", filters)

    def order_reconstruction(self, image_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a picture from a stream; returns the answer's `reconstruction` and `job`.

        May be repeated: the same options give the reconstruction that is there or on its way.
        """
        path = path_of("images", image_id, "reconstructions")
        return dict(self._send(lambda: self._http.post(path, json=dict(options)), may_repeat=True).json())

    def reconstruction(self, reconstruction_id: str) -> dict[str, Any]:
        """One reconstruction."""
        return dict(self.get(path_of("reconstructions", reconstruction_id)).json())

    def delete_image(self, image_id: str) -> None:
        """Delete an image; raises ClientError for one that is not there."""
        path = path_of("images", image_id)
        self._send(lambda: self._http.delete(path), may_repeat=True)

    def download(self, path: str, target: Path) -> int:
        """Fetch a stream or a picture into a file, whole or not at all; returns its bytes."""

        def _fetch() -> httpx.Response:
            with self._http.stream("GET", path, follow_redirects=True) as response:
                if not response.is_success:
                    response.read()
                    return response
                with part.open("wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                return response

        with replacing(target) as part:
            self._send(_fetch, may_repeat=True)
        return target.stat().st_size

    def create_batch(self, name: str) -> dict[str, Any]:
        """A new group to push pictures into."""
        key = f"batch-{secrets.token_hex(16)}"

        def _post() -> httpx.Response:
            return self._http.post("/v1/batches", json={"name": name}, headers={"Idempotency-Key": key})

        return dict(self._send(_post, may_repeat=True).json())

    def change_batch(self, batch_id: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Change a group; returns it."""
        path = path_of("batches", batch_id)
        return dict(self._send(lambda: self._http.patch(path, json=dict(change)), may_repeat=True).json())

    @contextmanager
    def events(self, path: str, last_id: str) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """A stream of server-sent events with their ids, after the one with `last_id`; raises ClientError, also where
        it breaks off."""
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with self._http.stream("GET", path, headers=headers) as response:
                if not response.is_success:
                    response.read()
                    raise _problem_of(response)
                yield _events_of(response.iter_lines())
        except httpx.TransportError as error:
            raise ServerUnreachable(self.server, str(error) or type(error).__name__) from None

    def batch(self, batch_id: str) -> dict[str, Any]:
        """One group, with its counts."""
        return dict(self.get(path_of("batches", batch_id)).json())

    def batches(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        """All groups with their counts, newest first; `name` for those that are called so."""
        return self._pages("/v1/batches", filters)

    def job(self, job_id: str) -> dict[str, Any]:
        """One job."""
        return dict(self.get(path_of("jobs", job_id)).json())

    def jobs(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        """All jobs, newest first."""
        return self._pages("/v1/jobs", filters)

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job; one that has ended stays as it is."""
        path = path_of("jobs", job_id, "cancel")
        return dict(self._send(lambda: self._http.post(path), may_repeat=True).json())

    def retry(self, job_id: str) -> dict[str, Any]:
        """Queue a job again that failed or was cancelled."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        path = f"/v1/jobs/{job_id}/retry"
        return dict(self._send(lambda: self._http.post(path, headers=headers), may_repeat=True).json())

    def retry_failed(self, code: str) -> Iterator[dict[str, Any]]:
        """Queue all jobs again that failed with a code; gives `retried` and `refused` of each page."""
        cursor: str | None = None
        while True:
            headers = {"Idempotency-Key": secrets.token_hex(16)}
            query = {"code": code, "limit": str(_PAGE_SIZE)} | ({} if cursor is None else {"cursor": cursor})

            def _post(query: dict[str, str] = query, headers: dict[str, str] = headers) -> httpx.Response:
                return self._http.post("/v1/jobs/retry", params=query, headers=headers)

            page = self._send(_post, may_repeat=True).json()
            yield page
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def submit_probe(self, queue: str) -> str:
        """Send a job that does nothing through a queue; returns its id."""
        response = self._send(lambda: self._http.post("/v1/probes", json={"queue": queue}), may_repeat=True).json()
        return str(response["job"]["id"])

    def wait_for_job(
        self,
        job_id: str,
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Return the job when it has ended; raises ClientError `wait_timeout`. `on_change` sees it at every look."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        wait = 0.05
        while True:
            job = self.job(job_id)
            if on_change is not None:
                on_change(job)
            if job["state"] in FINAL_STATES:
                return job
            if deadline is not None and time.monotonic() > deadline:
                raise ClientError(
                    "wait_timeout", f"Job {job_id} is still {job['state']} after {timeout_seconds:.0f} s."
                )
            time.sleep(wait)
            wait = min(wait * 1.4, 1.0)

    def wait_for_success(self, job_id: str, *, on_change: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Return when the job has succeeded; raises ClientError with its own error when it ended otherwise."""
        job = self.wait_for_job(job_id, on_change=on_change)
        if job["state"] != "succeeded":
            error = job["error"] or {"code": job["state"], "message": f"The job {job['id']} was {job['state']}."}
            raise ClientError(error["code"], error["message"])

    def _pages(self, path: str, filters: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            query: dict[str, Any] = dict(filters)
            page = self.get(path, limit=_PAGE_SIZE, cursor=cursor, **query).json()
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _send(
        self, send: Callable[[], httpx.Response], *, may_repeat: bool, any_status: bool = False
    ) -> httpx.Response:
        wait = _FIRST_WAIT_SECONDS
        give_up_at = time.monotonic() + (self.patience_seconds if self._has_answered else 0.0)
        for attempt in count(1):
            is_patient = time.monotonic() < give_up_at
            is_last = not may_repeat or (attempt >= _ATTEMPTS and not is_patient)
            try:
                response = send()
            except httpx.ConnectError as error:
                # Nothing was sent, so whoever waits for a server that is not there waits a shorter time.
                if attempt >= 3 and not is_patient:
                    raise ServerUnreachable(self.server, str(error)) from None
            except httpx.TransportError as error:
                if is_last:
                    raise ServerUnreachable(self.server, str(error) or type(error).__name__) from None
            else:
                if response.is_success or any_status:
                    self._has_answered = True
                    return response
                problem = _problem_of(response)
                may_pass = response.status_code in _BUSY or problem.code == _IN_FLIGHT
                if is_last or not may_pass or problem.code == _QUOTA_REACHED:
                    raise problem
                wait = max(wait, _retry_after(response))
            time.sleep(wait)
            wait = min(wait * 2, _LAST_WAIT_SECONDS)
        raise AssertionError("the last attempt returns or raises")


def path_of(*names: str) -> str:
    """The path of something in the interface, whatever characters the names have that a caller gave."""
    return "/v1/" + "/".join(quote(name, safe="", errors="replace") for name in names)


def _events_of(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line:
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            yield fields.get("id", ""), json.loads(fields["data"])
        fields = {}


def _check_address(server: str) -> None:
    """Raise ClientError unless this is the address of a server, with or without a path below which it is."""
    try:
        parts = urlsplit(server)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or parts.query or parts.fragment or "?" in server or "#" in server:
        raise ClientError(
            "server_invalid",
            f"{server!r} is no address of a server; it looks like http://127.0.0.1:8000 or https://host/path.",
        )


def _problem_of(response: httpx.Response) -> ClientError:
    """The error of a response, also of one that some proxy in between has written."""
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        document = response.json()
        return ClientError(document["code"], document["detail"], response.status_code)
    text = " ".join(response.text.split())[:200]
    return ClientError(
        f"http_{response.status_code}",
        f"{response.request.url} answered {response.status_code} {response.reason_phrase}"
        + (f": {text}" if text else "")
        + ". Is that address a misc server?",
        response.status_code,
    )


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return min(float(value), _LAST_WAIT_SECONDS) if value.isdigit() else 0.0
