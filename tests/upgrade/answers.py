"""What an archive says of itself over HTTP, from before the first restructuring on: the same calls in every version."""

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx


def answers_of(client: httpx.Client) -> dict[str, Any]:
    """Every image, job, reconstruction and batch, and the SHA-256 of every stream, original and picture."""
    images = [client.get(f"/v1/images/{row['id']}").json() for row in pages(client, "/v1/images")]
    jobs = [client.get(f"/v1/jobs/{row['id']}").json() for row in pages(client, "/v1/jobs")]
    ordered = [row["id"] for image in images for row in image["reconstructions"]]
    reconstructions = [client.get(f"/v1/reconstructions/{row}").json() for row in ordered]
    batches = {job["batch_id"] for job in jobs} - {None}
    return {
        "images": images,
        "jobs": jobs,
        "reconstructions": reconstructions,
        "batches": [client.get(f"/v1/batches/{batch}").json() for batch in sorted(batches)],
        "content_sha256": {
            path: _digest(client, path)
            for row in [*images, *reconstructions]
            for name in ("bitstream", "original", "content")
            if (path := row["links"].get(name)) is not None
        },
    }


def pages(client: httpx.Client, path: str, **query: str) -> Iterator[dict[str, Any]]:
    """The entries of a list, page by page."""
    cursor: dict[str, str] = {}
    while True:
        page = client.get(path, params={"limit": "7"} | query | cursor).json()
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


def _digest(client: httpx.Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.content).hexdigest()
