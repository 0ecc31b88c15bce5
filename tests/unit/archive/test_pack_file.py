"""What is no pack is refused before memory is taken for it, whatever it claims."""

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.archive.packs import pack_file
from core.archive.packs.pack_file import HEADER, Member, PackWriter, read_index, read_members
from core.errors import ObjectCorrupt
from core.storage.keys import pack_key
from core.storage.local import LocalStorage


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _key(data: bytes, kind: str = "bitstreams", suffix: str = "misc") -> str:
    return f"{kind}/{_sha256(data)}.{suffix}"


def _pack(*datas: bytes) -> bytes:
    file = io.BytesIO()
    writer = PackWriter(file)
    for data in datas:
        writer.add(_key(data), data)
    assert writer.finish() == _sha256(file.getvalue())
    return file.getvalue()


def _with_index(body: bytes, index: bytes, *, offset: int | None = None, size: int | None = None) -> bytes:
    offset = len(HEADER) + len(body) if offset is None else offset
    trailer = f"MISC pack index {offset:012} {len(index) if size is None else size:012} {_sha256(index)}\n"
    return HEADER + body + index + trailer.encode()


def _stored(folder: Path, data: bytes) -> tuple[LocalStorage, str]:
    storage, key = LocalStorage(folder), pack_key(_sha256(data))
    storage.put(key, data, content_type="", sha256=_sha256(data))
    return storage, key


def _line(data: bytes, offset: int, size: int | None = None, kind: str = "bitstream") -> bytes:
    return f"{_sha256(data)} {offset} {len(data) if size is None else size} {kind}\n".encode()


A, B = b"first stream", b"second"
FIRST = len(HEADER)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEADER,
        _pack(A, B)[:-1],
        _pack(A, B)[1:],
        _pack(A) + b"\n",
        _with_index(A, _line(A, FIRST), size=10**11),
        _with_index(A, _line(A, FIRST), offset=10**11),
        _with_index(A, _line(A, FIRST + 1)),
        _with_index(A, _line(A, FIRST, len(A) - 1)),
        _with_index(A, _line(A, FIRST, 10**11)),
        _with_index(A, _line(A, FIRST, kind="original")),
        _with_index(A, _line(A, FIRST)[:-2] + b"\xff\n"),
        _with_index(A + A, _line(A, FIRST) + _line(A, FIRST + len(A))),
        _with_index(A, _line(A, FIRST) + _line(b"", FIRST + len(A))),
        _with_index(A + B, _line(B, FIRST + len(A)) + _line(A, FIRST)),
        _with_index(A + B, _line(A, FIRST)),
        _with_index(b"", b"../../evil 438 0 bitstream\n"),
    ],
    ids=[
        "empty", "header-alone", "cut-at-end", "cut-at-begin", "more-after-it", "large-index", "far-index", "gap",
        "rest-untold", "large-member", "other-kind", "no-ascii", "twice", "nothing", "order", "untold", "path",
    ],
)  # fmt: skip
def test_what_is_no_pack_is_refused(data: bytes, tmp_path: Path) -> None:
    storage, key = _stored(tmp_path, data)
    with pytest.raises(ObjectCorrupt, match=key):
        read_index(storage, key)


def test_large_index_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_file, "MAX_INDEX_BYTES", 100)
    storage, key = _stored(tmp_path, _pack(A, B))
    with pytest.raises(ObjectCorrupt, match="which no pack has"):
        read_index(storage, key)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 300_000), min_size=1, max_size=6, unique=True), chosen=st.integers(1, 63))
def test_any_members_are_read_in_one_pass(
    sizes: list[int], chosen: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    datas = [bytes([number]) * size for number, size in enumerate(sizes)]
    storage, key = _stored(tmp_path_factory.mktemp("pack"), _pack(*datas))
    members = read_index(storage, key)
    wanted = [member for number, member in enumerate(members) if chosen >> number & 1]
    found = [(member.key, data) for member, data in read_members(storage, key, wanted)]
    assert found == [(_key(data), data) for number, data in enumerate(datas) if chosen >> number & 1]


def test_member_without_its_digest_is_passed_over(tmp_path: Path) -> None:
    storage, key = _stored(tmp_path, _pack(A, B))
    wrong = Member(_key(b"other"), FIRST, len(A))
    right = Member(_key(B), FIRST + len(A), len(B))
    assert list(read_members(storage, key, [wrong, right])) == [(right, B)]
