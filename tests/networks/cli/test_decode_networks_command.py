"""`misc decode` by networks: those that come with the program, those that lie here, one message where they do not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cli.local import networks
from codec.bitstream import Maps, PixelCoarse, RefCoarse, Stream, Texts, unpack
from codec.bitstream.container import pack
from codec.weights.released import RELEASED
from codec.weights.store import WeightsStore
from tests.tiny.diffbir import add_single

Misc = Callable[..., Result]
STREAM = Stream(
    72, 56, PixelCoarse(5, 4, 3, bytes(range(20)) * 3), Texts(("a red door",), "A house."), Maps(8, (bytes([1]) * 64,))
)
QUICK = ("--res", "64", "--steps", "2")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightsStore:
    folder = tmp_path_factory.mktemp("weights")
    store = WeightsStore(folder / "store")
    add_single(store, folder)
    return store


@pytest.fixture(autouse=True)
def environment(store: WeightsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(store.path))
    monkeypatch.setenv("MISC_NETWORK_DEVICE", "cpu")


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    path = tmp_path / "a.misc"
    path.write_bytes(pack(STREAM).data)
    return path


def test_defaults_start_from_avif_and_paint_by_the_networks_that_come_with_the_program(
    misc: Misc, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(tmp_path / "none"))
    encoded = misc("encode", photo, "-o", tmp_path / "a.misc", "--json")
    result = misc("decode", tmp_path / "a.misc", "-o", tmp_path / "a.png", "--json")

    assert (encoded.exit_code, result.exit_code) == (0, 0), encoded.stderr + result.stderr
    coarse = unpack((tmp_path / "a.misc").read_bytes()).stream.coarse
    assert isinstance(coarse, RefCoarse) and coarse.codec == "avif"
    (entry,) = json.loads(result.stdout)["results"]
    assert (entry["width"], entry["height"], entry["restorer"], entry["generative"]) == (90, 60, "gan", True)
    data = (tmp_path / "a.png").read_bytes()
    assert b"trainedAlgorithmicMedia" in data and b"profile lite" in data
    assert not (tmp_path / "none").exists()


def test_profile_paints_by_diffusion_and_the_picture_says_how(misc: Misc, stream: Path, tmp_path: Path) -> None:
    result = misc("decode", stream, "-o", tmp_path / "a.png", "--profile", "sd21", *QUICK, "--json")

    assert result.exit_code == 0, result.stderr
    (entry,) = json.loads(result.stdout)["results"]
    assert (entry["width"], entry["height"], entry["restorer"], entry["generative"]) == (72, 56, "diffusion", True)
    assert {"coarse", "restore", "total", "restore_diffuse"} <= set(entry["seconds"])
    data = (tmp_path / "a.png").read_bytes()
    assert b"trainedAlgorithmicMedia" in data
    assert b'misc:Settings="schedule fast, steps 2, strength 1.0, res 64, profile sd21"' in data


def test_default_profile_is_that_of_the_environment(
    misc: Misc, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_PROFILE", "sd21")
    painted = misc("decode", stream, "-o", tmp_path / "a.png", *QUICK, "--json")
    light = misc("decode", stream, "-o", tmp_path / "b.png", "--profile", "lite", *QUICK, "--json")
    chosen = misc("decode", stream, "-o", tmp_path / "c.png", "--restorer", "smooth", "--json")

    found = [json.loads(result.stdout)["results"][0]["restorer"] for result in (painted, light, chosen)]
    assert found == ["diffusion", "gan", "smooth"]
    told = [(tmp_path / f"{name}.png").read_bytes() for name in "ab"]
    assert b"profile sd21" in told[0] and b"profile lite" in told[1]

    monkeypatch.setenv("MISC_PROFILE", "sd3")
    wrong = misc("decode", stream, "-o", tmp_path / "d.png")
    assert wrong.exit_code == 2 and "MISC_PROFILE" in wrong.stderr


def test_folder_is_painted_in_one_process_once_for_each_choice(misc: Misc, stream: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.misc").write_bytes(stream.read_bytes())
    call = ("decode", tmp_path / "in", "-o", tmp_path / "out", "--profile", "sd21", "--json")

    for words, skipped in (
        (("--res", "64", "--steps", "2"), [False, False]),
        (("--res", "64", "--steps", "2"), [True, True]),
        (("--res", "64", "--steps", "3"), [False, False]),
    ):
        results = json.loads(misc(*call, *words).stdout)["results"]
        assert [entry["skipped"] for entry in results] == skipped
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "out" / "b.png").read_bytes()


def test_missing_weights_are_one_message_however_many_files(
    misc: Misc, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(tmp_path / "none"))
    (tmp_path / "b.misc").write_bytes(stream.read_bytes())

    result = misc("decode", stream, tmp_path / "b.misc", "-o", tmp_path / "out", "--profile", "sd21")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("general_full_v1.ckpt") == 1
    for word in ("b511f6be75f60efc", "misc weights pull diffbir-v1-general-full"):
        assert word in result.stderr


def test_damaged_weights_are_told_with_each_file(
    misc: Misc, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    store = WeightsStore(tmp_path / "weights" / "store")
    record = add_single(store, tmp_path / "weights")
    store.file_of(record).write_bytes(b"something else")
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(store.path))

    result = misc("decode", stream, "-o", tmp_path / "a.png", "--profile", "sd21", "--json")

    assert result.exit_code == 1
    error = json.loads(result.stdout)["results"][0]["error"]
    assert error["code"] == "weights_corrupt" and record.sha256[:16] in error["message"]
    assert not (tmp_path / "a.png").exists()


def test_networks_of_another_profile_are_not_taken(
    misc: Misc, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Those of lite come with the program; here they do not, and those of sd21 lie in the folder.
    monkeypatch.setattr(WeightsStore.__init__, "__defaults__", (RELEASED, None))
    networks._restorers_of.cache_clear()
    try:
        result = misc("decode", stream, "-o", tmp_path / "a.png", "--restorer", "diffusion", "--profile", "lite")
    finally:
        networks._restorers_of.cache_clear()

    assert result.exit_code == 2 and "profile lite" in result.stderr
    assert not (tmp_path / "a.png").exists()


def test_samples_have_seeds_that_follow_each_other_and_are_not_made_twice(
    misc: Misc, stream: Path, tmp_path: Path
) -> None:
    call = ("decode", stream, "-o", f"{tmp_path / 'out'}/", "--profile", "sd21", *QUICK, "--samples", "2", "--json")
    words = ("--negative-prompt", 'a "bad" & <blurred> one', "--colour-fix", "adain", "--coarse-guidance", "1")
    first = misc(*call, *words)
    assert first.exit_code == 0, first.stderr
    results = json.loads(first.stdout)["results"]
    assert [Path(entry["output"]).name for entry in results] == ["a_0.png", "a_1.png"]
    assert results[1]["seed"] == results[0]["seed"] + 1
    pictures = [Path(entry["output"]).read_bytes() for entry in results]
    assert pictures[0] != pictures[1] and b"colour_fix adain" in pictures[0]
    again = json.loads(misc(*call, *words).stdout)["results"]
    assert [(entry["skipped"], entry["seed"]) for entry in again] == [(True, entry["seed"]) for entry in results]


def test_the_set_that_is_named_restores(misc: Misc, stream: Path, tmp_path: Path) -> None:
    call = ("decode", stream, "--profile", "sd21", *QUICK, "--json")
    named = misc(*call, "-o", tmp_path / "a.png", "--set", "diffbir-v1")
    assert named.exit_code == 0, named.stderr
    assert b"network_set diffbir-v1" in (tmp_path / "a.png").read_bytes()
    missing = misc(*call, "-o", tmp_path / "b.png", "--set", "diffbir-v9")
    assert missing.exit_code == 2 and "diffbir-v1" in missing.stderr and not (tmp_path / "b.png").exists()
