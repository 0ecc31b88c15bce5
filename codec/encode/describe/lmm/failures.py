"""What a failed request means: whether trying again can help, how long to wait, and whether it may have cost money.

Messages may quote the server, cleaned and cut, and never hold the API key.
"""

import re
import socket
import ssl
import time
import unicodedata
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from codec.errors import (
    BudgetExhausted,
    DescriberError,
    DescriberMisconfigured,
    DescriberUnavailable,
    DescriptionRefused,
    DescriptionUnusable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import openai

_MAX_QUOTE_CHARS = 200
_PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say "not now" (RFC 9110; 425 is RFC 8470's)."""

_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_NO_CREDIT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error"})
_STATUS_OF = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "moderation_blocked": 400,
    "invalid_api_key": 401,
    "model_not_found": 404,
    # Anthropic's types
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
    # Google's statuses
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
}
"""The status that an error would have had, by its code, where it comes inside of a success."""

_WORDS = ("message", "detail", "error_description", "msg", "error")
_SECRET = re.compile(r"\b(?:sk|pk|key)-[\w*.-]{4,}|\bBearer\s+\S+", re.IGNORECASE)


class PassingFailure(Exception):
    """The request failed in a way that may be over in a moment. Stays inside this package.

    `wait_seconds` is what the server asked for, None if it asked for nothing; `charged` is true where the server may
    have done the work, although no answer arrived.
    """

    def __init__(self, message: str, *, wait_seconds: float | None = None, charged: bool = False) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        self.charged = charged


class RequestNotTaken(DescriberMisconfigured):
    """The server understood neither the form of the request nor its fields (400, 422); another form may do."""


class BodyTooLarge(Exception):
    """The server sends more than any answer needs, or sends it compressed though that was declined."""


def may_be_charged(error: BaseException) -> bool:
    """Whether a request that ended so may have cost money all the same; anything unforeseen may."""
    if isinstance(error, PassingFailure):
        return error.charged
    return not isinstance(error, DescriberError) or isinstance(error, DescriptionUnusable)


def judge(error: "openai.OpenAIError", secret: str) -> PassingFailure | DescriberError:
    """What an error of the SDK means, as the error to raise in its place."""
    # Imported late, since importing the SDK takes longer than importing everything else of the codec.
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError):
        return _judge_status(error, secret)
    if isinstance(error, openai.APITimeoutError):
        nothing_sent = isinstance(error.__cause__, httpx2.ConnectTimeout | httpx2.PoolTimeout)
        where = "took no connection" if nothing_sent else "did not answer"
        return PassingFailure(f"The language model's server {where} in time", charged=not nothing_sent)
    if isinstance(error, openai.APIConnectionError):
        nothing_sent = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ProxyError)
        what = "cannot be reached" if nothing_sent else "broke the connection"
        reason = quote(_reason_of(error), secret)
        return PassingFailure(f"The language model's server {what}: {reason}", charged=not nothing_sent)
    return DescriberMisconfigured(
        f"The request for a description could not be made ({type(error).__name__}); check the MISC_LMM_ settings."
    )


def _judge_status(error: "openai.APIStatusError", secret: str) -> PassingFailure | DescriberError:
    if error.status_code in _PASSING or error.status_code >= 500:
        failure = judge_body(error.status_code, error.body, secret)
        if isinstance(failure, DescriberUnavailable):
            wait_seconds = asked_wait_seconds(error.response.headers, time.time())
            return PassingFailure(str(failure), wait_seconds=wait_seconds)
        return failure
    return judge_body(error.status_code, error.body, secret)


def _reason_of(error: BaseException) -> str:
    """Why there was no connection, as far down as the libraries tell."""
    chain: list[BaseException] = []
    cause: BaseException | None = error.__cause__ or error
    while cause is not None and len(chain) < 10:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    for kind, words in (
        (ssl.SSLCertVerificationError, "its certificate is not trusted"),
        (ssl.SSLError, "TLS failed"),
        (socket.gaierror, "no such host name"),
        (ConnectionRefusedError, "nothing listens there (connection refused)"),
    ):
        found = next((one for one in chain if isinstance(one, kind)), None)
        if found is not None:
            detail = getattr(found, "verify_message", "") or getattr(found, "reason", "") or ""
            return f"{words} ({detail})" if detail else words
    text = next((str(one) for one in chain if str(one)), "")
    for sign, words in (
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
        ("SSL", "TLS failed"),
        ("Name or service not known", "no such host name"),
        ("Connection refused", "nothing listens there (connection refused)"),
    ):
        if sign in text:
            return f"{words} ({text})"
    return f"{type(chain[0]).__name__} {text}".strip()


def judge_error(error: object, secret: str) -> PassingFailure | DescriberError:
    """What an error inside of a successful response means: the same as with its own status, which its code is."""
    entry = error if isinstance(error, dict) else {"message": error or "no reason given"}
    codes = [entry.get("code"), entry.get("status"), entry.get("status_code")]
    numbers = [int(str(code)) for code in codes if re.fullmatch(r"[45]\d\d", str(code))]
    named = next((_STATUS_OF[str(code)] for code in (*codes, entry.get("type")) if str(code) in _STATUS_OF), 502)
    judged = judge_body(numbers[0] if numbers else named, {"error": entry}, secret)
    return PassingFailure(str(judged)) if isinstance(judged, DescriberUnavailable) else judged


def judge_body(status: object, body: object, secret: str) -> DescriberError:
    """What an error status and its body mean, as the error to end with if nothing is tried again."""
    status = status if type(status) is int else 500
    # Google's errors come as lists of one.
    body = body[0] if isinstance(body, list) and len(body) == 1 else body
    inner = body.get("error", body) if isinstance(body, dict) else body
    error = inner if isinstance(inner, dict) else {"message": inner}
    reasons = {str(error.get("code")), str(error.get("type"))}
    # Python servers say `detail`, others `error_description` or `msg`.
    words = next((error[name] for name in _WORDS if error.get(name)), "nothing")
    message = quote(words, secret)
    if status in (400, 403, 422) and reasons & _FILTER_CODES:
        return DescriptionRefused("A content filter in front of the language model refused the picture.")
    if status == 402 or (status == 429 and reasons & _NO_CREDIT_CODES):
        return BudgetExhausted("The account at the language model's provider has no credit left; add some there.")
    if status in _PASSING or status >= 500:
        return DescriberUnavailable(f"The language model's server answered with status {status}: {message}")
    if status in (400, 422):
        return RequestNotTaken(f"The language model's server does not take the request ({status}): {message}")
    if status in (401, 403):
        # The server's words are left out here, because servers quote the key that they refuse.
        return DescriberMisconfigured(
            f"The language model's server refuses the key ({status}); check MISC_LMM_API_KEY and the rights it has."
        )
    if status == 404:
        return DescriberMisconfigured(
            f"The language model's server knows no such model or address (404); check MISC_LMM_MODEL and "
            f"MISC_LMM_BASE_URL, which usually ends in /v1. It says: {message}"
        )
    return DescriberMisconfigured(f"The language model's server refuses the request ({status}): {message}")


def asked_wait_seconds(headers: "Mapping[str, str]", now: float) -> float | None:
    """Seconds that the server asks to wait, by `retry-after-ms` or `Retry-After` (seconds or an HTTP date, RFC 9110
    section 10.2.3); None when it does not, or says it unreadably. A date is measured on the server's own clock."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")[:64].strip()
        if re.fullmatch(r"\d{1,12}(\.\d{0,9})?", text):
            return float(text) * unit
    there, here = _moment(headers.get("retry-after", "")), _moment(headers.get("date", ""))
    return None if there is None else max(0.0, there - (now if here is None else here))


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text[:64]).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def quote(text: object, secret: str) -> str:
    """A server's words as one short printable line, without the key."""
    line = str(text)
    # The whole key goes first, so that no cut can leave a part of it.
    if secret:
        line = line.replace(secret, "[key]")
    line = _SECRET.sub("[key]", line[: 10 * _MAX_QUOTE_CHARS])
    line = "".join(character if unicodedata.category(character)[0] != "C" else " " for character in line)
    line = " ".join(line.split())
    return line if len(line) <= _MAX_QUOTE_CHARS else line[: _MAX_QUOTE_CHARS - 3] + "..."


def unavailable(failure: PassingFailure, tries: int) -> DescriberUnavailable:
    """The error that ends a description when the policy does not try again."""
    times = "once" if tries == 1 else f"{tries} times"
    return DescriberUnavailable(f"{failure} (tried {times}).")
