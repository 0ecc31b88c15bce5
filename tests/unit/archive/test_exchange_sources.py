"""Tars and folders of unknown hands: what reaches out of them, or is not what it says, is refused before it is read."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.archive.exchange.errors import ExportInvalid, SignatureInvalid, SigningKeyUnusable
from core.archive.exchange.signature import Signature, SigningKey, TrustedKeys
from core.archive.exchange.sources import open_source
from core.archive.exchange.verification import opened_export


def _tar(
    path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT, mode: str = "w"
) -> Path:
    with tarfile.open(path, mode, format=form) as tar:  # type: ignore[call-overload]
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return path


def _member(name: str, size: int = 3, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def test_plain_files_are_read(tmp_path: Path) -> None:
    path = _tar(
        tmp_path / "x.tar", (_member("misc-export/a/b.txt"), b"abc"), (_member("misc-export/c", 1000), bytes(1000))
    )
    source = open_source(path)
    files = {file.path: file for file in source.files()}
    assert {name: file.size_bytes for name, file in files.items()} == {"a/b.txt": 3, "c": 1000}
    with source.open(files["a/b.txt"]) as opened:
        assert opened.read() == b"abc"


@pytest.mark.parametrize(
    "member",
    [
        _member("/etc/passwd"),
        _member("misc-export/../../etc/passwd"),
        _member("misc-export/a/../b"),
        _member("misc-export/./a"),
        _member("misc-export//a"),
        _member("misc-export/.hidden"),
        _member("misc-export/a\\b"),
        _member("misc-export/a b"),
        _member("misc-export/"),
        _member("elsewhere/a"),
        _member("misc-export/link", 0, tarfile.SYMTYPE, linkname="/etc/passwd"),
        _member("misc-export/link", 0, tarfile.LNKTYPE, linkname="misc-export/a"),
        _member("misc-export/device", 0, tarfile.CHRTYPE, devmajor=1, devminor=3),
        _member("misc-export/disk", 0, tarfile.BLKTYPE),
        _member("misc-export/pipe", 0, tarfile.FIFOTYPE),
        _member("misc-export/folder", 0, tarfile.DIRTYPE),
        _member("misc-export/sparse", 3, tarfile.GNUTYPE_SPARSE),
        _member("misc-export/old", 3, tarfile.AREGTYPE),
        _member("misc-export/" + "a" * 400),
    ],
    ids=lambda member: repr(member.name[:30]),
)
def test_member_that_is_no_plain_file_of_an_export_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    path = _tar(tmp_path / "x.tar", (member, b"abc"), form=tarfile.GNU_FORMAT)
    with pytest.raises(ExportInvalid):
        list(open_source(path).files())


def _cut(data: bytes) -> bytes:
    return data[:700]


def _grown(data: bytes) -> bytes:
    return data + bytes(512)


def _with_tail(data: bytes) -> bytes:
    return data[:-1] + b"x"


def _with_padding(data: bytes) -> bytes:
    return data[:600] + b"x" + data[601:]


def _with_vast_size(data: bytes) -> bytes:
    member = tarfile.TarInfo("misc-export/vast")
    member.size = 8**11 - 1
    return member.tobuf(tarfile.USTAR_FORMAT) + data


def _with_negative_size(data: bytes) -> bytes:
    header = bytearray(tarfile.TarInfo("misc-export/a").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data


@pytest.mark.parametrize("change", [_cut, _grown, _with_tail, _with_padding, _with_vast_size, _with_negative_size])
def test_tar_that_is_not_whole_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = _tar(tmp_path / "x.tar", (_member("misc-export/a"), b"abc"))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ExportInvalid):
        list(open_source(path).files())


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_compressed_tar_is_refused(tmp_path: Path, mode: str) -> None:
    """A small one may hold more than any disk does."""
    path = _tar(tmp_path / "x.tar", (_member("misc-export/a", 1_000_000), bytes(1_000_000)), mode=mode)
    with pytest.raises(ExportInvalid, match="compressed"):
        list(open_source(path).files())


def test_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = _tar(tmp_path / "x.tar", (_member("misc-export/a"), b"abc"), (_member("misc-export/a"), b"abd"))
    with pytest.raises(ExportInvalid, match="twice"), opened_export(path):
        pass


def test_links_and_pipes_in_a_folder_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "export"
    root.mkdir()
    (root / "a").symlink_to("/etc/passwd")
    with pytest.raises(ExportInvalid, match="link"):
        list(open_source(root).files())
    (root / "a").unlink()
    os.mkfifo(root / "a")
    with pytest.raises(ExportInvalid):
        list(open_source(root).files())
    (root / "a").unlink()
    (root / "a").write_bytes(b"abc")
    source = open_source(root)
    (file,) = source.files()
    (root / "a").unlink()
    (root / "a").symlink_to("/etc/passwd")
    with pytest.raises(ExportInvalid, match="cannot be read"):
        source.open(file)


def test_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(ExportInvalid, match="no whole export"), opened_export(tmp_path):
        pass
    with pytest.raises(ExportInvalid, match="no folder and no file"), opened_export(tmp_path / "none"):
        pass


def test_key_file_is_for_its_owner_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing-key.pem"
    assert SigningKey.load(path) is None
    made = SigningKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = SigningKey.load(path)
    assert loaded is not None and loaded.public == made.public
    with pytest.raises(SigningKeyUnusable, match="There is a signing key"):
        SigningKey.create(path)
    path.chmod(0o640)
    with pytest.raises(SigningKeyUnusable, match="chmod 600"):
        SigningKey.load(path)
    path.chmod(0o600)
    path.write_bytes(b"nothing")
    with pytest.raises(SigningKeyUnusable, match="no Ed25519 key"):
        SigningKey.load(path)


def test_signature_is_of_these_bytes_and_has_one_form(tmp_path: Path) -> None:
    data = SigningKey.create(tmp_path / "key.pem").sign(b"a manifest")
    Signature.from_bytes(data).verify(b"a manifest")
    with pytest.raises(SignatureInvalid):
        Signature.from_bytes(data).verify(b"A manifest")
    for other in (
        data + b"\n",
        data.replace(b"Ed25519", b"none"),
        data.upper(),
        data[:50],
        b"[]",
        b"{" * 5000,
        b"\xff",
    ):
        with pytest.raises(SignatureInvalid):
            Signature.from_bytes(other)


def test_trusted_keys_are_kept_by_name(tmp_path: Path) -> None:
    trusted = TrustedKeys(tmp_path / "trusted-keys.txt")
    assert trusted.all() == {}
    trusted.add("ab" * 32, "museum")
    trusted.add("cd" * 32, "library")
    assert TrustedKeys(tmp_path / "trusted-keys.txt").all() == {"ab" * 32: "museum", "cd" * 32: "library"}
    assert (trusted.remove("museum"), trusted.remove("museum")) == (1, 0)
    assert trusted.all() == {"cd" * 32: "library"}
    for key, name in (("xy" * 32, "museum"), ("ab" * 32, "two words"), ("AB" * 32, "museum"), ("ab" * 32, "")):
        with pytest.raises(ValueError):
            trusted.add(key, name)
    (tmp_path / "trusted-keys.txt").write_text("nothing of ours\n")
    with pytest.raises(SigningKeyUnusable):
        trusted.all()
