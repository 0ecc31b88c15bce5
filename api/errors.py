"""The only place where an error becomes an HTTP status: RFC 9457 problem documents, and no traceback in any of them."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Scope

from api.quota import headers_of
from api.security_headers import secure
from codec import errors as codec_errors
from codec.errors import CodecError
from core import errors as core_errors
from core.errors import ServiceError
from core.logging import get_logger
from core.owners.quotas import QuotaReached
from core.webhooks.addresses import AddressRefused

_log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

_MAX_DETAIL_CHARS = 2000
"""A request with a thousand unknown options must not get a megabyte of complaints."""

_RETRY_AFTER_SECONDS = "5"

_TRY_AGAIN = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INSUFFICIENT_STORAGE)

_KEY_RETRY_AFTER_SECONDS = "2"
"""A key whose first request is under way is answered, or free, within seconds."""

# The nearest class in an error's own order of inheritance decides.
_STATUS: Mapping[type[Exception], HTTPStatus] = {
    CodecError: HTTPStatus.UNPROCESSABLE_ENTITY,
    codec_errors.PictureUnrecognised: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    codec_errors.Cancelled: HTTPStatus.CONFLICT,
    ServiceError: HTTPStatus.INTERNAL_SERVER_ERROR,
    core_errors.NotFound: HTTPStatus.NOT_FOUND,
    core_errors.ObjectNotFound: HTTPStatus.NOT_FOUND,
    core_errors.Conflict: HTTPStatus.CONFLICT,
    core_errors.LeaseLost: HTTPStatus.CONFLICT,
    core_errors.IdempotencyMismatch: HTTPStatus.UNPROCESSABLE_ENTITY,
    core_errors.RequestInvalid: HTTPStatus.BAD_REQUEST,
    AddressRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    core_errors.UploadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    core_errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    core_errors.Forbidden: HTTPStatus.FORBIDDEN,
    core_errors.LimitReached: HTTPStatus.TOO_MANY_REQUESTS,
    core_errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    core_errors.ProcessLost: HTTPStatus.SERVICE_UNAVAILABLE,
    core_errors.ObjectCorrupt: HTTPStatus.BAD_GATEWAY,
    core_errors.SpaceExhausted: HTTPStatus.INSUFFICIENT_STORAGE,
    core_errors.StorageDenied: HTTPStatus.SERVICE_UNAVAILABLE,
    core_errors.StorageUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    core_errors.BrokerUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    core_errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    core_errors.DatabaseUnusable: HTTPStatus.SERVICE_UNAVAILABLE,
    core_errors.DatabaseNotMigrated: HTTPStatus.SERVICE_UNAVAILABLE,
    core_errors.DatabaseNewer: HTTPStatus.SERVICE_UNAVAILABLE,
}

_HTTP_CODES: Mapping[int, str] = {
    400: "request_invalid",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "upload_too_large",
    415: "media_type_unsupported",
    416: "range_unsatisfiable",
    421: "host_not_allowed",
}

INTERNAL_ERROR = "internal_error"


class FieldFault(BaseModel):
    """What is wrong with one parameter."""

    name: str = Field(examples=["query.limit"])
    message: str = Field(examples=["Input should be less than or equal to 200"])


class Problem(BaseModel):
    """An error, as RFC 9457 describes it. Programs should look at `code`; `detail` is a sentence for people."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:misc:problem:picture_truncated",
                    "title": "Picture truncated",
                    "status": 422,
                    "detail": "The PNG file ends or breaks before the whole picture is there. Send the complete file.",
                    "code": "picture_truncated",
                    "instance": "/v1/images",
                    "request_id": "req_01kb2c9q0r5w3v7x1y8z4t6n2m",
                }
            ]
        }
    )

    type: str = Field(description="A name for this kind of error; the same for the same code.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; part of the interface.")
    instance: str = Field(description="Path of the request.")
    request_id: str | None = Field(description="Also in the header X-Request-ID and in the service's log.")
    errors: list[FieldFault] | None = Field(None, description="The parameters at fault, where they are known.")
    rejected: list[dict[str, Any]] | None = Field(None, description="The files of a batch, each with its reason.")


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "An error; see its `code`.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
"""What every endpoint may answer besides its own; also keeps the framework from announcing its own error form."""


def status_of(error: Exception) -> HTTPStatus:
    """The HTTP status of one of our errors; 500 for any other."""
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    faults: list[FieldFault] | None = None,
    rejected: Sequence[BaseModel] | None = None,
) -> Response:
    """A problem document for the request of `scope`."""
    if len(detail) > _MAX_DETAIL_CHARS:
        detail = detail[:_MAX_DETAIL_CHARS] + "…"
    document = Problem(
        type=f"urn:misc:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        instance=scope.get("path", ""),
        request_id=scope.get("misc.request_id"),
        errors=faults,
        rejected=None if rejected is None else [entry.model_dump(mode="json") for entry in rejected],
    )
    # Escaped, because a message may repeat what a caller sent, half of a surrogate pair included.
    body = json.dumps(document.model_dump(exclude_none=True)).encode("ascii")
    answer_headers = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        answer_headers["WWW-Authenticate"] = 'Bearer realm="misc"'
    if status in _TRY_AGAIN:
        answer_headers.setdefault("Retry-After", _RETRY_AFTER_SECONDS)
    if code == core_errors.IdempotencyInFlight.code:
        answer_headers["Retry-After"] = _KEY_RETRY_AFTER_SECONDS
    # A plain number: logs would have the name of the enumeration's member otherwise.
    response = Response(body, int(status), answer_headers, MEDIA_TYPE)
    # Here too, because some problems are answered before, or outside of, the application's own layers.
    secure(response.headers)
    return response


def problem_of(scope: Scope, error: CodecError | ServiceError) -> Response:
    """The problem document of one of our errors; the details of faults of ours stay in the log."""
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request_failed", code=error.code, error=str(error))
        return problem(scope, status, error.code, "The service made a mistake; its log tells more.")
    if isinstance(error, QuotaReached) and error.standing is not None:
        headers = headers_of(error.standing) | {"Retry-After": str(error.standing.seconds_left)}
        return problem(scope, status, error.code, str(error), headers=headers)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        _log.warning("request_not_served", code=error.code, error=str(error))
        return problem(scope, status, error.code, _unavailable(scope, error))
    return problem(scope, status, error.code, str(error))


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of an endpoint or of the framework with a problem document."""
    app.add_exception_handler(CodecError, _on_our_error)
    app.add_exception_handler(ServiceError, _on_our_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_defect)


async def _on_our_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CodecError | ServiceError)
    return problem_of(request.scope, error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        FieldFault(name=".".join(map(str, fault["loc"])), message=str(fault["msg"])) for fault in error.errors()[:20]
    ]
    detail = "; ".join(f"{fault.name}: {fault.message}" for fault in faults)
    return problem(request.scope, 400, core_errors.RequestInvalid.code, detail, faults=faults)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, f"http_{error.status_code}")
    detail, headers = error.detail, dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.url.path}; /docs lists what there is."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not possible here; see the header Allow."
        headers["Allow"] = ", ".join(_methods_of(request))
    return problem(request.scope, error.status_code, code, detail, headers=headers)


def _methods_of(request: Request) -> list[str]:
    """All methods of a path; the framework tells those of the first of its routes only."""
    routes = [*request.app.routes, *(route for router in request.app.state.routers for route in router.routes)]
    path = request.scope["path"]
    at_path = [one for one in routes if isinstance(one, Route) and one.path_regex.match(path)]
    # A path of its own is none of the ids that a neighbour's route has a place for.
    own = [route for route in at_path if route.path_format == path]
    return sorted({method for route in own or at_path for method in route.methods or ()})


async def _on_disconnect(request: Request, error: Exception) -> Response:
    # Nobody is left to read it; an answer keeps a broken upload from being logged as a defect.
    return Response(status_code=400)


async def _on_defect(request: Request, error: Exception) -> Response:
    # The framework raises the error again after this answer, so the server logs it with its traceback.
    response = problem(
        request.scope, 500, INTERNAL_ERROR, "The service made a mistake; its log has the details under the request id."
    )
    if (request_id := request.scope.get("misc.request_id")) is not None:
        response.headers["X-Request-ID"] = request_id
    return response


def _unavailable(scope: Scope, error: CodecError | ServiceError) -> str:
    """A sentence without host names, paths and other internals that the log has."""
    if isinstance(error, core_errors.DatabaseUnavailable) and scope.get("method") not in ("GET", "HEAD"):
        # The connection may have been lost after the commit was sent.
        return (
            "The database does not answer, and whether the request took effect is not known. Try again in a few "
            "seconds; with an Idempotency-Key nothing is done twice."
        )
    what = {
        core_errors.StorageDenied.code: "The storage refuses the service",
        core_errors.StorageUnavailable.code: "The storage does not answer",
        core_errors.BrokerUnavailable.code: "The queue does not answer",
        core_errors.DatabaseUnavailable.code: "The database does not answer",
    }.get(error.code, "Something the service needs does not answer")
    return f"{what}; nothing was changed. Try again in a few seconds."
