"""Clients that submit steadily and retry as good ones do: the same Idempotency-Key, growing waits, `Retry-After`."""

import json
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence

import httpx

from bench.chaos.ledger import Ledger, Order

_TIMEOUT_SECONDS = 30.0
_IMPATIENT_SECONDS = 0.02
_FIRST_WAIT_SECONDS, _LAST_WAIT_SECONDS = 0.2, 5.0
_LONGEST_ASKED_SECONDS = 30.0
_RETRIED = frozenset({429, 500, 502, 503, 504, 507})
_IN_FLIGHT = "idempotency_in_flight"


class Client:
    """Sends one request at a time to one of several APIs, another one after each failure."""

    def __init__(self, base_urls: Sequence[str], ledger: Ledger, is_over: Callable[[], bool], seed: int = 0) -> None:
        """`is_over` ends a retry that would go on for ever."""
        self._apis = [httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS) for url in base_urls]
        self._ledger, self._is_over = ledger, is_over
        self._random = random.Random(seed)
        self._turn = seed

    def close(self) -> None:
        """Give the connections back."""
        for api in self._apis:
            api.close()

    def get(self, path: str, **params: str | int) -> httpx.Response:
        """GET until there is an answer that another try would not change; raises TimeoutError when all is over."""
        return self._send(lambda api: api.get(path, params=params))

    def submit(self, order: Order) -> None:
        """Send a picture until it is taken."""
        files = {"file": (f"{order.key}.png", order.picture_file(), "image/png")}
        form = {"options": json.dumps(order.options)}
        headers = {"Idempotency-Key": order.key}
        if order.is_impatient:
            # The answer is not waited for, so whether the order was taken is not known: it is sent again.
            try:
                self._next().post(
                    "/v1/images", files=files, data=form, headers=headers, timeout=_IMPATIENT_SECONDS
                ).close()
            except httpx.TransportError:
                self._ledger.count("given up")
        started = time.monotonic()
        response = self._send(lambda api: api.post("/v1/images", files=files, data=form, headers=headers))
        if response.status_code != 202:
            self._ledger.note(f"{order.key} was answered with {response.status_code}: {response.text[:300]}")
            return
        answer = response.json()
        order.image_id = answer["image"]["id"]
        self._ledger.accept(order, answer["job"]["id"], time.monotonic() - started)

    def submit_decode(self, order: Order) -> None:
        """Order a reconstruction until it is taken."""
        path, headers = f"/v1/images/{order.image_id}/reconstructions", {"Idempotency-Key": order.key}
        started = time.monotonic()
        response = self._send(lambda api: api.post(path, json=order.options, headers=headers))
        if response.status_code not in (200, 202):
            self._ledger.note(f"{order.key} was answered with {response.status_code}: {response.text[:300]}")
            return
        answer = response.json()
        order.reconstruction_id = answer["reconstruction"]["id"]
        self._ledger.accept(order, answer["job"]["id"], time.monotonic() - started)

    def _next(self) -> httpx.Client:
        self._turn += 1
        return self._apis[self._turn % len(self._apis)]

    def _send(self, send: Callable[[httpx.Client], httpx.Response]) -> httpx.Response:
        wait = _FIRST_WAIT_SECONDS
        while True:
            asked_wait = 0.0
            try:
                response = send(self._next())
                self._ledger.count(_name_of(response))
                if not _is_retried(response):
                    return response
                asked_wait = float(response.headers.get("retry-after", 0))
                if response.status_code == 500:
                    self._ledger.note(f"{response.request.url.path} was answered with 500: {response.text[:300]}")
            except httpx.TransportError as error:
                self._ledger.count(type(error).__name__)
            if self._is_over():
                raise TimeoutError("no answer until the end")
            time.sleep(max(min(asked_wait, _LONGEST_ASKED_SECONDS), wait * self._random.uniform(0.5, 1)))
            wait = min(wait * 2, _LAST_WAIT_SECONDS)


class Clients:
    """Threads that send the orders evenly over a time, and decodes of what was encoded."""

    def __init__(self, base_urls: Sequence[str], ledger: Ledger, threads: int = 6) -> None:
        self._ledger = ledger
        self._waiting: queue.Queue[tuple[float, Order]] = queue.Queue()
        self._decodes: queue.Queue[Order] = queue.Queue()
        self._over = threading.Event()
        self._unsent = 0
        self._lock = threading.Lock()
        self._clients = [Client(base_urls, ledger, self._over.is_set, seed) for seed in range(threads + 1)]
        self._threads = [
            threading.Thread(target=self._work, args=(client,), daemon=True) for client in self._clients[:-1]
        ]
        self._threads.append(threading.Thread(target=self._work_decodes, args=(self._clients[-1],), daemon=True))

    def start(self, orders: Sequence[Order], seconds: float) -> None:
        """Begin to send: the first now, the last after `seconds`, unless clients are held up."""
        start = time.monotonic()
        self._unsent = len(orders)
        for number, order in enumerate(orders):
            self._waiting.put((start + seconds * number / len(orders), order))
        for thread in self._threads:
            thread.start()

    def send_now(self, order: Order) -> None:
        """Send one more as soon as a thread is free."""
        with self._lock:
            self._unsent += 1
        self._waiting.put((0.0, order))

    def decode(self, encoded: Order) -> None:
        """Order the reconstruction that belongs to an encode that succeeded."""
        with self._lock:
            self._unsent += 1
        options = encoded.decode_options or {}
        self._decodes.put(
            Order(f"{encoded.key}-decode", options, seed=encoded.seed, image_id=encoded.image_id, is_decode=True)
        )

    @property
    def unsent(self) -> int:
        """Orders that nobody has taken on yet."""
        with self._lock:
            return self._unsent

    def close(self) -> None:
        """End the threads."""
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=_TIMEOUT_SECONDS + 5)
        for client in self._clients:
            client.close()

    def _work(self, client: Client) -> None:
        while not self._over.is_set():
            try:
                due_at, order = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            if self._over.wait(max(0.0, due_at - time.monotonic())):
                return
            self._send(order, client.submit)

    def _work_decodes(self, client: Client) -> None:
        while not self._over.is_set():
            try:
                order = self._decodes.get(timeout=0.2)
            except queue.Empty:
                continue
            self._send(order, client.submit_decode)

    def _send(self, order: Order, submit: Callable[[Order], None]) -> None:
        self._ledger.add(order)
        try:
            submit(order)
        except TimeoutError:
            self._ledger.note(f"{order.key} was not taken until the end")
        finally:
            with self._lock:
                self._unsent -= 1


def _name_of(response: httpx.Response) -> str:
    if response.is_success:
        return str(response.status_code)
    try:
        return f"{response.status_code} {response.json()['code']}"
    except (ValueError, KeyError, TypeError):
        return str(response.status_code)


def _is_retried(response: httpx.Response) -> bool:
    return response.status_code in _RETRIED or _name_of(response) == f"409 {_IN_FLIGHT}"
