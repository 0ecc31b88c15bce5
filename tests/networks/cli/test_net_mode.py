"""Mode `net` from the command line: weights that were added, files that name them, and what is told without them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from compressai.models import MeanScaleHyperprior

from codec.bitstream import NetCoarse, unpack
from codec.options import Profile
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore
from tests.unit.cli.conftest import write_photo

Misc = Callable[..., Result]


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, misc: Misc) -> str:
    """The digest prefix of a small network that was added under the name `small`."""
    torch.manual_seed(1)
    model = MeanScaleHyperprior(8, 12)
    model.update(force=True)
    torch.save({"network": model.state_dict()}, tmp_path / "small.pth.tar")
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(tmp_path / "weights"))
    options = ("--name", "small", "--part", "coarse", "--architecture", "mbt2018-mean", "--json")
    added = misc("weights", "add", tmp_path / "small.pth.tar", *options)
    assert added.exit_code == 0, added.stderr
    listed = {entry["name"]: entry for entry in json.loads(misc("weights", "list", "--json").stdout)["weights"]}
    return str(listed["small"]["sha256"])[:8]


def test_file_names_its_network_and_comes_back_with_it_only(
    misc: Misc, weights: str, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.misc"
    words = ("--mode", "net", "--network", "small", "--scale", "2", "--describe", "none", "--json")
    (encoded,) = json.loads(misc("encode", photo, "-o", out, *words).stdout)["results"]
    assert encoded["error"] is None and sum(encoded["bits"].values()) == 8 * out.stat().st_size

    told = json.loads(misc("inspect", out, "--json").stdout)
    assert (told["mode"], told["coarse"], told["weights"]) == ("net", {"scale": 2}, {"coarse": weights})
    stream = unpack(out.read_bytes()).stream
    assert isinstance(stream.coarse, NetCoarse) and told["bits"]["coarse"] == 8 * (1 + len(stream.coarse.payload))

    decoded = misc("decode", out, "-o", tmp_path / "back.png", "--restorer", "smooth", "--json")
    (entry,) = json.loads(decoded.stdout)["results"]
    assert (entry["error"], entry["width"], entry["height"]) == (None, 90, 60)

    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(tmp_path / "elsewhere"))
    refused = misc("decode", out, "-o", tmp_path / "again.png", "--restorer", "smooth", "--json")
    (entry,) = json.loads(refused.stdout)["results"]
    assert refused.exit_code == 1 and entry["error"]["code"] == "weights_missing"
    assert weights in entry["error"]["message"] and not (tmp_path / "again.png").exists()


def test_second_run_skips_what_this_network_made(misc: Misc, weights: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_photo(tmp_path / "photos" / f"{name}.png")
    words = ("--mode", "net", "--network", "small", "--describe", "none", "--jobs", "1", "--json")
    misc("encode", tmp_path / "photos", "-o", tmp_path / "out", *words)
    same = json.loads(misc("encode", tmp_path / "photos", "-o", tmp_path / "out", *words).stdout)["results"]
    assert [entry["skipped"] for entry in same] == [True, True]
    other = misc("encode", tmp_path / "photos", "-o", tmp_path / "out", *words, "--scale", "4")
    assert [entry["skipped"] for entry in json.loads(other.stdout)["results"]] == [False, False]


def test_network_that_came_with_the_program_once_is_named_fetched_and_codes_at_the_scale_it_is_made_for(
    misc: Misc, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(tmp_path / "store"))
    out = tmp_path / "a.misc"
    refused = misc("encode", photo, "-o", out, "--mode", "net", "--rate", "1", "--describe", "none")
    assert refused.exit_code != 0 and "`misc weights pull lite-coarse-1`" in refused.stderr
    assert misc("weights", "pull", "lite-coarse-1").exit_code == 0
    encoded = misc("encode", photo, "-o", out, "--mode", "net", "--rate", "1", "--describe", "none", "--json")
    assert encoded.exit_code == 0, encoded.stderr
    record = WeightsStore(tmp_path / "store").find(part=Part.COARSE, profile=Profile.LITE, rate=1)

    told = json.loads(misc("inspect", out, "--json").stdout)
    assert (told["mode"], told["coarse"]) == ("net", {"scale": record.scale})
    assert told["weights"] == {"coarse": record.sha256[:8]} and record.scale == 2
    decoded = misc("decode", out, "-o", tmp_path / "back.png", "--restorer", "smooth", "--json")
    (entry,) = json.loads(decoded.stdout)["results"]
    assert (entry["error"], entry["width"], entry["height"]) == (None, 90, 60)


def test_unknown_network_is_refused_before_anything_is_done(
    misc: Misc, weights: str, photo: Path, tmp_path: Path
) -> None:
    result = misc("encode", photo, "-o", tmp_path / "a.misc", "--mode", "net", "--network", "large")
    assert result.exit_code == 2
    assert "large" in result.stderr and "misc weights" in result.stderr
    assert not (tmp_path / "a.misc").exists()
