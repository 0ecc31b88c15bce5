"""What was imported from an export decodes to the very pictures that it decoded to before."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from codec.bitstream import unpack
from core.archive import bitstreams, images
from core.archive.exchange.export import Order, export
from core.archive.exchange.form import Form
from core.archive.exchange.intake import Imported, take_in
from core.archive.exchange.selection import Selection
from core.archive.exchange.verification import opened_export, verify
from core.archive.images import NewStream
from core.database import Database
from core.settings import DatabaseSettings
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from migrations.upgrade import upgrade
from misc_archive import decode, encode
from models.image import Image as ImageRow


class Archive:
    """A database and a storage in one folder."""

    def __init__(self, folder: Path) -> None:
        settings = DatabaseSettings(url=f"sqlite:///{folder}/misc.db")
        upgrade(settings)
        self.database, self.storage = Database(settings), LocalStorage(folder / "objects")

    def add(self, data: bytes) -> None:
        """Take a stream in."""
        unpacked, sha256 = unpack(data), hashlib.sha256(data).hexdigest()
        bitstreams.put(self.database, self.storage, data, sha256)
        with self.database.write() as session:
            new = NewStream("default", "a.misc", sha256, unpacked.stream, unpacked.bits)
            assert images.import_bitstream(session, new) is not None

    def pictures(self) -> dict[str, np.ndarray]:
        """Samples of every image as stage 1 of lite paints it, by id."""
        with self.database.read() as session:
            rows = session.query(ImageRow.id, ImageRow.bitstream_sha256).all()
        streams = {image_id: bitstreams.get(self.database, self.storage, sha256 or "") for image_id, sha256 in rows}
        return {image_id: np.asarray(decode(data, restorer="gan").picture) for image_id, data in streams.items()}

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Archive]:
    """A stream of a small photo."""
    photo = Image.fromarray(skimage.data.astronaut()[0:32, 200:248])
    with closing(Archive(tmp_path / "here")) as archive:
        archive.add(encode(photo, mode="pixel", describe="none", text="a woman who smiles").data)
        yield archive


def test_imported_stream_decodes_to_the_same_picture(here: Archive, tmp_path: Path) -> None:
    export(here.database, here.storage, Order(Selection(), Form.TAR), tmp_path / "one.tar")
    with closing(Archive(tmp_path / "elsewhere")) as elsewhere:
        with opened_export(tmp_path / "one.tar") as found:
            verify(found)
            assert take_in(elsewhere.database, Copies(elsewhere.storage), found) == Imported(images=1)
        before, after = here.pictures(), elsewhere.pictures()
    assert len(before) == 1 and before.keys() == after.keys()
    for image_id, samples in before.items():
        assert samples.shape == (32, 48, 3) and samples.std() > 10
        assert np.array_equal(samples, after[image_id])
