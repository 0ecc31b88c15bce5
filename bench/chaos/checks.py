"""What has to hold once everything has ended: nothing lost, wrong, stuck, left over, or failed but true poison."""

import hashlib
import io
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from PIL import Image as Pictures
from sqlalchemy import select

from bench.chaos.clients import Client
from bench.chaos.ledger import Ledger, Order
from bench.chaos.stack import FullStack
from codec.bitstream import unpack
from codec.decode.pipeline import decode
from codec.encode.pipeline import encode
from codec.options import DecodeOptions, EncodeOptions, parse_options
from core.archive import deletions
from core.archive.packs import members
from core.archive.records.writer import count_missing, write_missing
from core.database import Database
from core.errors import ObjectNotFound
from core.settings import DatabaseSettings
from core.storage import Storage
from core.storage.keys import BITSTREAMS, FOLDERS, record_key
from models.base import utc_now
from models.image import Image
from models.outbox import OutboxRow
from models.pending_deletion import PendingDeletion
from models.reconstruction import Reconstruction
from models.stored_object import StoredObject

_PARKED = frozenset({"worker_lost", "job_parked"})
"""How a job ends that kills its workers."""

_NETWORK_TOLERANCE = 8
"""Samples of a picture that networks restored may differ by so much, of 255, from the same done here."""

_LATER = timedelta(hours=3)
"""Longer than any reservation and any blocked key lasts."""

_SWEEPS = 50


@dataclass
class Verdict:
    """Findings by invariant; each is a sentence."""

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    streams_checked: int = 0
    pictures_checked: int = 0
    objects_checked: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether everything held."""
        return not (self.lost or self.wrong or self.stuck or self.orphans or self.failed)

    @property
    def summary(self) -> str:
        """The line that says it all."""
        return (
            f"{len(self.lost)} lost, {len(self.wrong)} wrong, {len(self.stuck)} stuck, {len(self.orphans)} orphans, "
            f"{len(self.failed)} failed but poison"
        )


def judge(stack: FullStack, client: Client, ledger: Ledger, say: Callable[[str], None]) -> Verdict:
    """Look at everything that was promised, through the API, then, its processes stopped, at store and database."""
    verdict = Verdict()
    for finding in ledger.unexpected:
        (verdict.lost if finding.startswith("lost") else verdict.wrong).append(finding)
    _check_ends(ledger, verdict)
    say("all has ended; checking streams")
    _check_images(client, ledger, verdict)
    say("checking pictures")
    _check_reconstructions(client, ledger, verdict)
    _check_once(client, ledger, verdict)
    say("checking objects")
    stack.stop_processes()
    _check_objects(stack, verdict)
    return verdict


def _check_ends(ledger: Ledger, verdict: Verdict) -> None:
    for order in ledger.accepted():
        if order.state is None:
            verdict.stuck.append(f"{order.key}: job {order.job_id} has not ended")
        elif order.state in ("failed", "cancelled"):
            if order.is_poison and order.error_code in _PARKED:
                continue
            verdict.failed.append(f"{order.key}: job {order.job_id} {order.state} with {order.error_code}")


def _check_images(client: Client, ledger: Ledger, verdict: Verdict) -> None:
    """Each stream is there, has the digest that it is said to have, and is what this machine makes of the picture."""
    for order in ledger.accepted():
        if order.is_decode or order.is_poison or order.state != "succeeded":
            continue
        response = client.get(f"/v1/images/{order.image_id}/bitstream")
        if response.status_code != 200:
            verdict.lost.append(
                f"{order.key}: its stream is answered with {response.status_code} {response.text[:200]}"
            )
            continue
        verdict.streams_checked += 1
        etag = response.headers.get("etag", "").strip('"')
        if hashlib.sha256(response.content).hexdigest() != etag:
            verdict.wrong.append(f"{order.key}: the stream's bytes do not have the digest {etag}")
        elif response.content != encode(order.picture(), parse_options(EncodeOptions, _codec_options(order))).data:
            verdict.wrong.append(f"{order.key}: the stream is not that of its picture")
        elif (unpack(response.content).stream.width, unpack(response.content).stream.height) != order.picture().size:
            verdict.wrong.append(f"{order.key}: the stream has another size than its picture")
        if order.options.get("keep_original"):
            original = client.get(f"/v1/images/{order.image_id}/original")
            if original.status_code != 200:
                verdict.lost.append(f"{order.key}: its original is answered with {original.status_code}")
            elif original.content != order.picture_file():
                verdict.wrong.append(f"{order.key}: its original is not what was sent")


def _codec_options(order: Order) -> dict[str, object]:
    return {name: value for name, value in order.options.items() if name != "keep_original"}


def _check_reconstructions(client: Client, ledger: Ledger, verdict: Verdict) -> None:
    """Each picture has the digest that it is said to have, and is what this machine makes of the stream."""
    for order in ledger.accepted():
        if not order.is_decode or order.state != "succeeded":
            continue
        response = client.get(f"/v1/reconstructions/{order.reconstruction_id}/content")
        if response.status_code != 200:
            verdict.lost.append(f"{order.key}: its picture is answered with {response.status_code}")
            continue
        verdict.pictures_checked += 1
        if hashlib.sha256(response.content).hexdigest() != response.headers.get("etag", "").strip('"'):
            verdict.wrong.append(f"{order.key}: the picture's bytes do not have the digest of their ETag")
            continue
        picture = Pictures.open(io.BytesIO(response.content)).convert("RGB")
        stream = client.get(f"/v1/images/{order.image_id}/bitstream").content
        difference = _difference(picture, stream, order)
        if difference is not None:
            verdict.wrong.append(f"{order.key}: {difference}")


def _difference(picture: Pictures.Image, stream: bytes, order: Order) -> str | None:
    from cli.local.networks import restorers
    from cli.local.paths import find_network

    values = {name: value for name, value in order.options.items() if name != "format"}
    options = parse_options(DecodeOptions, values)
    with restorers().use(options) as restorer:
        expected = decode(stream, options, restorer=restorer, find_network=find_network).picture
    if picture.size != expected.size:
        return f"the picture is {picture.size}, not {expected.size}"
    difference = np.abs(np.asarray(picture).astype(int) - np.asarray(expected).astype(int))
    if order.options.get("format") == "webp":
        # A lossy file: near on the whole is all that can be said.
        return None if difference.mean() <= _NETWORK_TOLERANCE else f"the picture differs by {difference.mean():.1f}"
    most = 0 if options.restorer == "smooth" else _NETWORK_TOLERANCE
    return None if difference.max() <= most else f"the picture differs by up to {difference.max()} of 255"


def _check_once(client: Client, ledger: Ledger, verdict: Verdict) -> None:
    """One image for each order, none without one."""
    counts: Counter[str] = Counter()
    query: dict[str, str | int] = {"limit": 200}
    while True:
        page = client.get("/v1/images", **query).json()
        counts.update(item["name"] for item in page["items"])
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    expected = {f"{order.key}.png" for order in ledger.accepted() if not order.is_decode}
    verdict.wrong += [f"{name} is in the archive {count} times" for name, count in counts.items() if count > 1]
    verdict.lost += [f"{name} was accepted and is not in the archive" for name in expected - set(counts)]
    sent = {f"{order.key}.png" for order in ledger.orders if not order.is_decode}
    verdict.wrong += [f"{name} is in the archive, and nobody sent it" for name in set(counts) - sent]


def _check_objects(stack: FullStack, verdict: Verdict) -> None:
    """After maintenance, some hours later, the store has what the catalogue names, and nothing else."""
    database = Database(DatabaseSettings(url=stack.database.url))
    storage = stack.storage()
    try:
        while write_missing(database, storage):  # before sweeps that take reservations to be over
            pass
        for _ in range(_SWEEPS):
            deletions.sweep(database, storage, now=utc_now() + _LATER)
            with database.read() as session:
                if count_missing(session) == 0 and session.scalar(select(PendingDeletion.key).limit(1)) is None:
                    break
            time.sleep(0.1)
        with database.read() as session:
            pending = session.scalars(select(PendingDeletion.key)).all()
            catalogue = set(session.scalars(select(StoredObject.key)))
            references = {row for row in session.scalars(select(Image.original_key)) if row is not None}
            references |= {
                f"{BITSTREAMS}{digest}.misc" for digest in session.scalars(select(Image.bitstream_sha256)) if digest
            }
            references |= {key for key in session.scalars(select(Reconstruction.object_key)) if key is not None}
            references |= {record_key(digest) for digest in session.scalars(select(Image.record_sha256)) if digest}
            # Members of packs are no objects of their own; a pack is referred to by what lives in it.
            packed = members.living(session, references)
            references |= {state.key for state in members.packs(session) if state.live}
            unsent = session.scalars(select(OutboxRow.job_id)).all()
        stored = set(_listing(storage))
        stored -= {key for key in stored - catalogue if not _is_there(storage, key)}
    finally:
        storage.close()
        database.close()
    verdict.objects_checked = len(stored)
    verdict.orphans += [f"{key} is stored, and the catalogue does not know it" for key in sorted(stored - catalogue)]
    verdict.orphans += [
        f"{key} is in the catalogue, and nothing refers to it" for key in sorted(catalogue - references)
    ]
    verdict.orphans += [f"the deletion of {key} never ends" for key in pending]
    verdict.lost += [f"{key} is in the catalogue, and not stored" for key in sorted(catalogue - stored)]
    verdict.lost += [
        f"{key} is referred to, and not in the catalogue" for key in sorted(references - catalogue - packed)
    ]
    verdict.stuck += [f"the notification of {job_id} was never sent" for job_id in unsent]


def _listing(storage: Storage) -> list[str]:
    return [entry.key for folder in FOLDERS for entry in storage.list(folder)]


def _is_there(storage: Storage, key: str) -> bool:
    """A listing may name what was deleted: some stores bring it up to date later."""
    try:
        storage.head(key)
    except ObjectNotFound:
        return False
    return True
