"""Sends messages to webhooks from one thread of a maintenance worker, a few at a time, until each is taken."""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor

from core.background import Periodic
from core.database import Database
from core.logging import get_logger
from core.settings import WebhookSettings
from core.version import service_version
from core.webhooks import messages
from core.webhooks.addresses import AddressRefused, parse
from core.webhooks.messages import ClaimedMessage
from core.webhooks.post import post
from core.webhooks.signature import signed_headers

_log = get_logger(__name__)

_PASS_SECONDS = 1.0
_BATCHES_SECONDS = 3.0
_AT_ONCE = 8
_GONE = 410


class WebhookSender:
    """Several processes may each have one: a message is claimed by one of them."""

    def __init__(self, database: Database, settings: WebhookSettings) -> None:
        self._database, self._private_hosts = database, settings.private_hosts
        self._threads = (
            Periodic("webhook-sender", _PASS_SECONDS, self.make_pass),
            Periodic("webhook-batches", _BATCHES_SECONDS, self._look_after_batches),
        )

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End after the attempts that are under way."""
        for thread in self._threads:
            thread.close()

    def make_pass(self) -> int:
        """Send all that is due; returns how many attempts that took."""
        attempts = 0
        while due := messages.claim_due(self._database):
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook") as pool:
                list(pool.map(self._send, due))
            attempts += len(due)
        return attempts

    def _look_after_batches(self) -> None:
        messages.note_ended_batches(self._database)
        messages.forget_old(self._database)

    def _send(self, message: ClaimedMessage) -> None:
        """Make one attempt, and record how it ended."""
        status, error = self._attempt(message)
        is_taken = status is not None and 200 <= status < 300
        _log.info("webhook_sent", message_id=message.id, attempt=message.attempt, status=status, error=error)
        if is_taken and status is not None:
            messages.record_delivered(self._database, message, status)
        elif status == _GONE:
            messages.record_gone(self._database, message, status)
        else:
            messages.record_failed(self._database, message, status, error or f"It answered {status}.")

    def _attempt(self, message: ClaimedMessage) -> tuple[int | None, str | None]:
        """The status of the answer, or what went wrong."""
        headers = signed_headers(message.secret, message.id, int(time.time()), message.body)
        headers |= {"Content-Type": "application/json", "User-Agent": f"misc-archive/{service_version()}"}
        try:
            status = post(parse(message.url, self._private_hosts), message.body, headers)
        except AddressRefused as error:
            return None, str(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"
        is_redirect = 300 <= status < 400
        return status, f"It answered {status}, and redirects are not followed." if is_redirect else None
