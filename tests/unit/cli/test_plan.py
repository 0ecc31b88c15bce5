"""Many inputs at once: a process that dies costs its own input and no other."""

from pathlib import Path

import pytest

from cli.commands import eval as evaluate
from cli.commands import push
from cli.local.file_plan import plan_outputs
from codec.atomic_files import write_atomically
from codec.errors import OptionError
from codec.media import PICTURE_SUFFIXES


def test_failed_write_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.misc"
    write_atomically(target, b"first")
    write_atomically(target, b"second")
    assert target.read_bytes() == b"second"
    with pytest.raises(TypeError):
        write_atomically(target, "no bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"second"
    assert [path.name for path in target.parent.iterdir()] == ["a.misc"]


def test_file_into_an_existing_folder_keeps_its_stem(tmp_path: Path) -> None:
    plan = plan_outputs([Path("some/where/photo.jpeg")], str(tmp_path), {".jpeg"}, ".misc")
    assert [pair.target for pair in plan.pairs] == [tmp_path / "photo.misc"]
    assert not plan.is_single


def test_slash_at_the_end_asks_for_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    plan = plan_outputs([Path("some/where/photo.jpeg")], f"{tmp_path}/new/", {".jpeg"}, ".misc")
    assert [pair.target for pair in plan.pairs] == [tmp_path / "new" / "photo.misc"]
    assert not plan.is_single


def test_names_that_would_collide_keep_their_suffixes(tmp_path: Path) -> None:
    sources = [Path("x/a.png"), Path("x/a.jpg"), Path("x/b.png")]
    plan = plan_outputs(sources, str(tmp_path / "out"), {".png", ".jpg"}, ".misc")
    assert [pair.target.name for pair in plan.pairs] == ["a.png.misc", "a.jpg.misc", "b.misc"]
    with pytest.raises(OptionError, match="different folders"):
        plan_outputs([Path("x/a.png"), Path("y/a.png")], str(tmp_path / "out"), {".png"}, ".misc")


def test_encode_push_and_eval_choose_the_same_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.png", "b.JPG", "sub/c.webp", ".hidden.png", ".trash/d.png", "notes.txt"):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    (tmp_path / "in" / "folder.png").mkdir()
    names = ["a.png", "b.JPG", "sub/c.webp"]
    source, out = tmp_path / "in", str(tmp_path / "out")
    planned = [pair.source for pair in plan_outputs([source], out, PICTURE_SUFFIXES, ".misc").pairs]
    assert planned == [source / name for name in names]
    pictures, left_out = push._pictures(push._Source([source]), {}, tmp_path)
    assert [picture.path for picture in pictures] == planned
    assert [picture.name for picture in pictures] == names
    assert [(path, str(name)) for path, name in evaluate._select(source).files] == list(
        zip(planned, names, strict=True)
    )
    assert left_out == [
        f"2 left out as hidden: {source}/.trash, {source}/.hidden.png.",
        "1 left out by the ends of their names: .txt 1.",
    ]
