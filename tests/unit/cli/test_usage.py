"""What the command refuses at once, and how: in the words that were typed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result

from cli.local.file_plan import run_all

Misc = Callable[..., Result]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mode", "ref", "--blocks", "16"), "--blocks is an option of mode pixel, and this call is of mode ref"),
        (("--mode", "pixel", "--max-bpp", "0.05"), "--max-bpp is an option of mode ref"),
        (("--mode", "ref", "--published-grid"), "--published-grid is an option of mode pixel"),
        (("--mode", "pixel", "--network", "x"), "--network is an option of mode net"),
        (("--map-edge", "99"), "--map-edge: Input should be less than or equal to 16"),
        (("--mode", "none-such"), "--mode: Input should be"),
    ],
)
def test_option_that_cannot_be_met_is_named_as_it_was_typed(
    misc: Misc, photo: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    result = misc("encode", photo, "-o", tmp_path / "a.misc", *words)
    assert result.exit_code == 2 and message in result.stderr
    assert not (tmp_path / "a.misc").exists()


def test_stream_under_the_name_of_a_picture_is_refused(misc: Misc, photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.JPG"
    other.write_bytes(b"a picture")
    quick = ("--mode", "pixel", "--describe", "none")
    result = misc("encode", photo, "-o", other, *quick)
    assert result.exit_code == 2 and "a stream is called other.misc" in result.stderr
    assert other.read_bytes() == b"a picture"
    assert misc("encode", photo, "-o", other, *quick, "--force").exit_code == 0


def test_interrupted_call_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    def _work(number: int) -> dict[str, Any]:
        if number == 2:
            raise KeyboardInterrupt
        return {"error": None}

    with pytest.raises(typer.Exit) as ended:
        run_all(_work, [0, 1, 2, 3], 1, "Working", lambda number: {})
    assert ended.value.exit_code == 130
    assert "stopped after 2 of 4" in capsys.readouterr().err


def test_many_files_and_folders_are_inspected_at_once(misc: Misc, photo: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        misc(
            "encode", photo, "-o", tmp_path / "folder" / f"{name}.misc", "--mode", "pixel", "--text", f"picture {name}"
        )
    (tmp_path / "bad.misc").write_bytes(b"nothing")
    result = misc("inspect", tmp_path / "folder", tmp_path / "bad.misc")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "a.misc: 90x60" in lines[0] and "picture b" in lines[1] and lines[2].startswith("2 files, ")
    assert "bad.misc: " in result.stderr


def test_reconstruction_says_how_it_was_made(misc: Misc, photo: Path, tmp_path: Path) -> None:
    stream = tmp_path / "a.misc"
    misc("encode", photo, "-o", stream, "--mode", "pixel", "--describe", "none")
    for suffix in ("png", "webp", "jpg", "avif"):
        misc("decode", stream, "-o", tmp_path / f"back.{suffix}", "--restorer", "smooth", "--seed", 5)
        shown = misc("inspect", tmp_path / f"back.{suffix}").stdout
        assert (
            "restorer            smooth" in shown
            and "algorithmicallyEnhanced" in shown
            and "seed                5" in shown
        )
    refused = misc("inspect", photo)
    assert refused.exit_code == 1 and "does not say that misc decode made it" in refused.stderr
