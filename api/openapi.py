"""What `/openapi.json` says of bodies that endpoints read by themselves, such as forms with files."""

import copy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.errors import Problem
from api.openapi_links import add_links
from codec.media import BINARY

_DESCRIPTION = """
An image archive at 0.02 to 0.05 bits per pixel. Hand in a picture with `POST /v1/images`; the answer names a job to
follow at `GET /v1/jobs/{id}/events`. Its stream, a `.misc` file of a few KB, is then at
`GET /v1/images/{id}/bitstream`, and `POST /v1/images/{id}/reconstructions` orders a picture restored from it.

A generative restorer invents detail, and every reconstruction says so in its metadata: never use one as evidence.

**Keys** go into the header `Authorization: Bearer KEY`. **Errors** are `application/problem+json` with a stable `code`.
**Repeating a request** is safe with an `Idempotency-Key`. **Lists** go on with `cursor`, newest first. Every answer has
an `X-Request-ID`, which is also taken from the caller.
"""


def file_schema(description: str | None = None) -> dict[str, Any]:
    """A file of a form or a body. JSON Schema has `contentMediaType` for it, generators of clients look at `format`."""
    schema = {"type": "string", "format": "binary", "contentMediaType": BINARY}
    return schema if description is None else schema | {"description": description}


def file_content(*media_types: str) -> dict[str, Any]:
    """What an answer or a body that is a file has, also under the type that every generator of clients knows."""
    return {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in (*media_types, BINARY)}


def inlined_schema(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without references, so that it can stand anywhere in the document."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def _resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                target = copy.deepcopy(definitions[node["$ref"].rpartition("/")[2]])
                target.pop("title", None)
                return _resolve(target | {key: value for key, value in node.items() if key != "$ref"})
            return {key: _resolve(value) for key, value in node.items()}
        if isinstance(node, list):
            return [_resolve(entry) for entry in node]
        return node

    resolved: dict[str, Any] = _resolve(schema)
    return resolved


def form_body(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """The description of a `multipart/form-data` body; fields of JSON are marked as such."""
    encoding = {name: {"contentType": "application/json"} for name, part in properties.items() if "properties" in part}
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    form = {"schema": schema, "encoding": encoding}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form}}}


def json_body(model: type[BaseModel], examples: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    """The description of a JSON body."""
    content = {
        "schema": inlined_schema(model),
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


KEY_PATTERN = r'^([!#-~]([ -~]{0,253}[!-~])?|"[ -~]{1,253}")$'
"""An Idempotency-Key as it is sent: bare, or as a string in quotes; printable ASCII."""

IDEMPOTENCY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255, "pattern": KEY_PATTERN},
    "description": "A key of the caller's own. The same request with the same key is done once and answered alike; "
    "another request with it is refused (422), one that comes while the first is still running too (409).",
}


PREFER_PARAMETER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 100},
    "description": "`wait=30` has the answer wait up to so many seconds, at most 60, for what is ordered: 200 with it "
    "when it has ended, else 202 as ever. `Preference-Applied` says that it waited.",
}


def install_openapi(app: FastAPI, root_path: str) -> None:
    """Have the application describe itself with its errors and keys, and the path below which it is."""

    def _openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes, tags=_TAGS
            )
            components = document.setdefault("components", {})
            # Not referred to by any endpoint's own model, and still part of every answer.
            components.setdefault("schemas", {})["Problem"] = inlined_schema(Problem)
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["servers"] = [{"url": root_path or "/"}]
            document["security"] = [{"key": []}, {}]
            add_links(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = _openapi  # type: ignore[method-assign]


_TAGS = [
    {"name": "images", "description": "Pictures handed in, and what the archive keeps of them."},
    {"name": "reconstructions", "description": "Pictures restored from a stream: a cache."},
    {"name": "batches", "description": "Many pictures followed as one group."},
    {"name": "jobs", "description": "How the work stands, and its news."},
    {"name": "bitstreams", "description": "Streams that were made elsewhere."},
    {"name": "webhooks", "description": "Addresses that are told of what ends."},
    {"name": "usage", "description": "What was done for an owner, and what its quotas leave."},
    {"name": "probes", "description": "Jobs that do nothing, to see that a queue is consumed."},
    {"name": "health", "description": "What operators and their tools ask."},
]
