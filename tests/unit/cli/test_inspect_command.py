"""`misc inspect`: what is in a file, in figures that add up."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from codec.bitstream import ExternalCoarse, Maps, PixelCoarse, Stream, Texts
from codec.bitstream.container import pack
from codec.picture.credentials import Signer
from codec.picture.save import Provenance, format_for, save_picture
from misc_archive import inspect
from tests.certificates import archive_under, authority
from tests.certificates import written as written_pem

Misc = Callable[..., Result]
PIXELS = PixelCoarse(4, 3, 3, bytes(range(12)) * 3)
MASK = bytes([1, 0, 0, 1] * 16)


def written(path: Path, stream: Stream) -> int:
    data = pack(stream).data
    path.write_bytes(data)
    return len(data)


def test_document_has_all_keys_and_bits_add_up(misc: Misc, tmp_path: Path) -> None:
    path = tmp_path / "a.misc"
    texts = Texts(("a grey cat", "a red sofa"), "A cat on a sofa.")
    stream = Stream(40, 30, PIXELS, texts, Maps(8, (MASK, bytes(64))), "lite", b"\1\2\3\4", b"\xaa\xbb\xcc\xdd")
    size = written(path, stream)
    result = misc("inspect", path, "--json")
    assert result.exit_code == 0 and result.stderr == ""
    document = json.loads(result.stdout)
    assert document["file"] == str(path) and document["bytes"] == size
    assert (document["width"], document["height"], document["bpp"]) == (40, 30, 8 * size / 1200)
    assert set(document["bits"]) == {"container", "text", "maps", "coarse"}
    assert sum(document["bits"].values()) == 8 * size
    assert (document["mode"], document["profile"], document["external"]) == ("pixel", "lite", False)
    assert document["description"] == {
        "items": [{"detail": "a grey cat"}, {"detail": "a red sofa"}],
        "overall": "A cat on a sofa.",
    }
    assert document["maps"] == [[[1, 0, 0, 1] * 2] * 8, [[0] * 8] * 8]
    assert document["weights"] == {"coarse": "01020304", "restorer": "aabbccdd"}
    assert document["coarse"] == {"columns": 4, "rows": 3, "level": 3}
    assert "declared_bits" not in document


def test_external_figures_stand_beside_the_files_own(misc: Misc, tmp_path: Path) -> None:
    path = tmp_path / "e.misc"
    size = written(path, Stream(100, 100, ExternalCoarse(bytes(16), 300), Texts((), "Something.")))
    document = json.loads(misc("inspect", path, "--json").stdout)
    assert document["external"] is True and document["mode"] == "ref"
    own = document["bits"]
    assert document["bpp"] == 8 * size / 10_000
    assert document["declared_bits"] == 300 + own["container"] + own["text"] + own["maps"]
    assert document["bpp_declared"] == document["declared_bits"] / 10_000
    assert document["bits"]["coarse"] < 300


def test_reconstruction_tells_the_networks_that_made_it(misc: Misc, tmp_path: Path) -> None:
    weights = {"restorer": "ab" * 32, "stage 1": "cd" * 32}
    for suffix, weights_of in ((".png", weights), (".webp", weights), (".jpg", {})):
        mark = Provenance("gan", "ef" * 32, 7, True, weights=weights_of)
        path = tmp_path / f"back{suffix}"
        path.write_bytes(save_picture(Image.new("RGB", (8, 8)), format_for(suffix), mark))
        document = json.loads(misc("inspect", path, "--json").stdout)
        assert document["mark"]["weights"] == weights_of
        assert document["mark"]["restorer"] == "gan"
        shown = misc("inspect", path).stdout
        assert all(f"{part} {digest}" in shown for part, digest in weights_of.items())
        assert misc("inspect", path, path).stdout.count("made by gan") == 2


def test_signature_is_told_with_its_name(misc: Misc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    above = authority()
    signer = Signer.load(*written_pem(tmp_path, archive_under(above), above))
    path = tmp_path / "back.jpg"
    path.write_bytes(save_picture(Image.new("RGB", (8, 8)), "jpeg", Provenance("gan", "ef" * 32, 7, True), signer))
    assert "valid, but no authority" in misc("inspect", path).stdout
    (tmp_path / "trusted.pem").write_bytes(above.pem)
    monkeypatch.setenv("MISC_MARK_TRUSTED", str(tmp_path / "trusted.pem"))
    assert "signature           valid, by archive.example (Test Archive)" in misc("inspect", path).stdout
    assert inspect(path)["mark"]["signature"]["state"] == "trusted"
    changed = bytearray(path.read_bytes())
    changed[-20] ^= 1
    path.write_bytes(changed)
    shown = misc("inspect", path)
    assert shown.exit_code == 0 and "signature           INVALID: " in shown.stdout
    (tmp_path / "plain.png").write_bytes(
        save_picture(Image.new("RGB", (8, 8)), "png", Provenance("smooth", "ef" * 32, 7, False))
    )
    assert "signature           none" in misc("inspect", tmp_path / "plain.png").stdout
    monkeypatch.setenv("MISC_MARK_TRUSTED", str(tmp_path / "none.pem"))
    assert "MISC_MARK_TRUSTED" in misc("inspect", path).stderr


def test_text_form_shows_the_same(misc: Misc, tmp_path: Path) -> None:
    path = tmp_path / "a.misc"
    size = written(path, Stream(40, 30, PIXELS, Texts(("[b]a cat[/b]",), "All."), Maps(8, (MASK,))))
    shown = misc("inspect", path).stdout
    for part in (f"{size} bytes", "40x30", "columns 4", "[b]a cat[/b]", "overall   All.", "#..##..#"):
        assert part in shown


def test_bad_files_exit_1_with_a_sentence(misc: Misc, tmp_path: Path) -> None:
    (tmp_path / "bad.misc").write_bytes(b"\x89PNG but no stream")
    for name, code in (("bad.misc", "stream_invalid"), ("missing.misc", "file_missing")):
        result = misc("inspect", tmp_path / name, "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["error"]["code"] == code
        assert name in result.stderr
    assert misc("inspect").exit_code == 2


def test_mark_that_cannot_be_ours_is_a_sentence(misc: Misc, tmp_path: Path) -> None:
    huge, forged = tmp_path / "huge.png", tmp_path / "forged.png"
    with huge.open("wb") as file:
        file.truncate(600 << 20)
    written = save_picture(Image.new("RGB", (8, 8)), format_for(".webp"), Provenance("gan", "ef" * 32, 7, True))
    forged.write_bytes(written.replace(b'Seed="7"', b'Seed="x"'))
    assert forged.read_bytes() != written
    for path in (huge, forged):
        result = misc("inspect", path, "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["error"]["code"] == "picture_unrecognised"
