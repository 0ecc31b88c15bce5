"""A worker that decodes tells of networks that streams need and nobody holds."""

import hashlib
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from codec.bitstream import NetCoarse, Stream, pack
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore
from core.archive import bitstreams, images
from core.archive.images import NewStream
from core.broker import Broker
from core.database import Database
from core.settings import DatabaseSettings
from core.storage.local import LocalStorage
from workers.closure_watch import ClosureWatch
from workers.metrics import WorkerMetrics

NETWORK = b"weights of a learned codec"
SHA256 = hashlib.sha256(NETWORK).hexdigest()


def test_missing_network_is_counted_until_it_is_there(migrated_file: Path, tmp_path: Path) -> None:
    shutil.copy(migrated_file, tmp_path / "misc.db")
    storage, weights = LocalStorage(tmp_path / "objects"), WeightsStore(tmp_path / "weights")
    stream = Stream(640, 480, NetCoarse(2, bytes(40)), coarse_network=bytes.fromhex(SHA256[:8]))
    packed = pack(stream)
    sha256 = hashlib.sha256(packed.data).hexdigest()
    metrics = WorkerMetrics()

    def _figure() -> float | None:
        return metrics.registry.get_sample_value("misc_missing_networks")

    with closing(Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db"))) as database:
        bitstreams.put(database, storage, packed.data, sha256)
        with database.write() as session:
            images.import_bitstream(session, NewStream("alice", "boat.misc", sha256, stream, packed.bits))
        watch = ClosureWatch(database, cast(Broker, cast(Any, None)), storage, weights, metrics.note_missing_networks)
        (missing,) = watch.look()
        assert (missing.need.part, missing.need.prefix, missing.need.images) == ("coarse", SHA256[:8], 1)
        assert _figure() == 1
        (tmp_path / "mine.pth").write_bytes(NETWORK)
        weights.add(tmp_path / "mine.pth", name="mine", part=Part.COARSE, architecture="mbt2018-mean")
        assert watch.look() == []
        assert _figure() == 0
