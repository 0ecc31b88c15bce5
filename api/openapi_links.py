"""Where the document says one can go on: an answer that makes something names it for the calls that ask for it."""

from collections.abc import Iterator
from typing import Any

_MADE = {
    "submit_image": {"image_id": "image/id", "job_id": "job/id"},
    "import_bitstream": {"image_id": "image/id"},
    "order_reconstruction": {"reconstruction_id": "reconstruction/id", "job_id": "job/id"},
    "submit_batch": {"batch_id": "id"},
    "submit_probe": {"job_id": "job/id"},
    "register_webhook": {"webhook_id": "id"},
}
"""Operation, path parameter of others, and where in the operation's answer its value is."""


def add_links(document: dict[str, Any]) -> None:
    """Give answers their `links` (OpenAPI 3.1, link object), to every operation whose one path parameter they know."""
    operations = list(_operations(document))
    for operation in operations:
        for parameter, place in _MADE.get(operation["operationId"], {}).items():
            links = {
                target["operationId"]: {
                    "operationId": target["operationId"],
                    "parameters": {parameter: f"$response.body#/{place}"},
                }
                for target in operations
                if _path_parameters(target) == [parameter]
            }
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    answer.setdefault("links", {}).update(links)


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def _path_parameters(operation: dict[str, Any]) -> list[str]:
    return [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"]
