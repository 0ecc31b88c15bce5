"""DiffBIR out of the folder of weights: which files are taken, what comes of them, and what is said without them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from codec.errors import FeatureUnavailable, WeightsCorrupt, WeightsMissing
from codec.nets.diffbir.bsrnet import BSRNet
from codec.nets.diffbir.config import V1, BSRNetConfig, Prediction
from codec.nets.diffbir.dimensions import dimensions_of
from codec.nets.diffbir.load import find_files, load_diffbir
from codec.nets.diffbir.network import DiffBIR
from codec.nets.loading.device_config import DeviceConfig
from codec.options import Profile
from codec.weights.index import Record
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore
from tests.tiny import diffbir as tiny

FULL_SIZE = Path(__file__).parents[2] / "parity" / "data" / "full_size_keys.json"
CPU = DeviceConfig("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightsStore:
    """With the single file."""
    folder = tmp_path_factory.mktemp("weights")
    store = WeightsStore(folder / "store")
    tiny.add_single(store, folder)
    return store


def stub(store: WeightsStore, folder: Path, name: str, part: Part, architecture: str) -> Record:
    path = folder / name
    path.write_bytes(name.encode())
    return store.add(path, name=name, part=part, architecture=architecture, profiles=(Profile.SD21,))


def loaded(store: WeightsStore, device_config: DeviceConfig = CPU) -> DiffBIR:
    return load_diffbir(store, find_files(store, Profile.SD21), device_config)


def predicted(network: DiffBIR) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latent, condition = torch.randn(2, 1, 4, 16, 16, generator=generator).to(network.unet.dtype)
    texts = network.embed(torch.tensor([[49406, 320, 736, 49407] + [0] * 73]))
    return network.predict(latent, torch.tensor([500]), texts, condition)


def test_dimensions_of_the_published_file_are_read_off_its_shapes() -> None:
    keys = json.loads(FULL_SIZE.read_text())
    tensors = {key: torch.empty(shape, device="meta") for key, shape in keys.get("keys", keys).items()}
    first_stage = {
        key.removeprefix(tiny.FIRST_STAGE): tensor for key, tensor in tensors.items() if tiny.FIRST_STAGE in key
    }

    assert dimensions_of(tensors, first_stage, "full") == V1


@pytest.mark.parametrize(
    ("key", "shape", "fault"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", (33, 4, 3, 3), "begins with 33 channels"),
        ("model.diffusion_model.input_blocks.0.0.weight", (0, 4, 3, 3), r"shape \(0, 4, 3, 3\)"),
        ("model.diffusion_model.input_blocks.4.0.in_layers.2.weight", (72, 32, 3, 3), "levels differ"),
        ("first_stage_model.decoder.up.0.block.0.conv2.weight", (48, 32, 3, 3), r"have \[48, 64"),
        ("cond_stage_model.model.positional_embedding", (77, 66), "66 channels"),
        ("conv_first.1.weight", (24, 100, 3, 3), "begins with 100 channels"),
        ("layers.1.residual_group.blocks.0.attn.relative_position_bias_table", (200, 2), "tables"),
    ],
)
def test_shapes_of_no_such_network_are_told(key: str, shape: tuple[int, ...], fault: str) -> None:
    base, first_stage = tiny.base_file(), tiny.part_of(tiny.FIRST_STAGE)
    (base if key in base else first_stage)[key] = torch.empty(shape, device="meta")

    with pytest.raises(WeightsCorrupt, match=f"odd is of no network that is known here.*{fault}"):
        dimensions_of(base, first_stage, "odd")


def test_single_file_and_parts_give_the_same_network(store: WeightsStore, tmp_path: Path) -> None:
    parts = WeightsStore(tmp_path / "store")
    records = tiny.add_parts(parts, tmp_path)
    files = find_files(parts, Profile.SD21)

    whole, assembled = loaded(store), load_diffbir(parts, files, CPU)

    assert set(files.weights.values()) == {record.sha256 for record in records}
    assert whole.config == assembled.config
    ours, theirs = whole.state_dict(), assembled.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    with torch.inference_mode():
        assert torch.equal(predicted(whole), predicted(assembled))


def test_networks_on_a_cpu_are_float32_and_in_halves_close_to_that(store: WeightsStore) -> None:
    exact, halves = loaded(store), loaded(store, DeviceConfig("cpu", "bfloat16"))

    assert {parameter.dtype for parameter in exact.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in halves.stage1.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in halves.unet.parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        expected = predicted(exact)
        error = (predicted(halves).float() - expected).square().mean().sqrt() / expected.std()
        picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
        assert torch.equal(halves.clean(picture), exact.clean(picture))
        latent = exact.encode(picture)
        decoded = halves.decode(latent.bfloat16())
        difference = (decoded - exact.decode(latent)).abs().mean()
    assert error < 0.03
    assert decoded.dtype == torch.float32 and difference < 0.01


def test_newest_complete_set_is_taken(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    whole = stub(store, tmp_path, "v1.ckpt", Part.RESTORER, "diffbir-v1")
    control = stub(store, tmp_path, "v2.1", Part.CONTROL, "diffbir-v2.1")
    swinir = stub(store, tmp_path, "swin", Part.SWINIR, "swinir")
    stub(store, tmp_path, "base", Part.BASE, "sd21")
    assert find_files(store, Profile.SD21).whole == whole, "the base of v2.1 is not here"

    base = stub(store, tmp_path, "zsnr", Part.BASE, "sd21-zsnr")
    files = find_files(store, Profile.SD21)
    assert (files.base, files.control, files.stage1, files.whole) == (base, control, swinir, None)

    better = stub(store, tmp_path, "zsnr.safetensors", Part.BASE, "sd21-zsnr")
    assert find_files(store, Profile.SD21).base == better


def test_each_version_takes_the_first_stage_that_it_was_published_with(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    stub(store, tmp_path, "base", Part.BASE, "sd21")
    control = stub(store, tmp_path, "v2", Part.CONTROL, "diffbir-v2")
    swinir = stub(store, tmp_path, "swin", Part.SWINIR, "swinir")
    assert find_files(store, Profile.SD21).stage1 == swinir, "another one is better than none"
    scunet = stub(store, tmp_path, "scu", Part.SWINIR, "scunet")
    assert find_files(store, Profile.SD21).stage1 == scunet
    bsrnet = stub(store, tmp_path, "bsr", Part.SWINIR, "bsrnet")
    files = find_files(store, Profile.SD21)
    assert files.stage1 == bsrnet and files.control == control
    chosen = find_files(store, Profile.SD21, f"diffbir-v2+{scunet.name}")
    assert chosen.stage1 == scunet and chosen.weights["swinir"] == scunet.sha256


def test_a_set_restores_with_bsrnet(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    tiny.add_parts(store, tmp_path, control="diffbir-v2")
    network = BSRNet(BSRNetConfig(8, 4, 1))
    keys = published_bsrnet(network)
    torch.save(keys, tmp_path / "BSRNet.pth")
    store.add(tmp_path / "BSRNet.pth", name="b", part=Part.SWINIR, architecture="bsrnet", profiles=(Profile.SD21,))
    restored = loaded(store)
    assert restored.config.stage1 == BSRNetConfig(8, 4, 1)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert torch.equal(restored.clean(picture), network.eval()(picture))


def published_bsrnet(network: BSRNet) -> dict[str, torch.Tensor]:
    """The parameters under the published names."""
    names = {"conv_trunk": "trunk_conv", "conv_up.0": "upconv1", "conv_up.1": "upconv2", "conv_hr": "HRconv"}
    published = {}
    for name, value in network.state_dict().items():
        whole, _, last = name.rpartition(".")
        block = re.fullmatch(r"blocks\.(\d+)\.dense\.(\d)\.convs\.(\d)", whole)
        if block is not None:
            index, dense, conv = map(int, block.groups())
            whole = f"RRDB_trunk.{index}.RDB{dense + 1}.conv{conv + 1}"
        published[f"{names.get(whole, whole)}.{last}"] = value.clone()
    return published


def test_version_2_1_predicts_the_velocity_down_to_pure_noise(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    tiny.add_parts(store, tmp_path, control="diffbir-v2.1", base="sd21-zsnr")

    config = loaded(store).config

    assert (config.prediction, config.zero_terminal_snr) == (Prediction.V, True)


def test_without_files_the_message_names_one_its_digest_and_the_command(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    for part, architecture, message in (
        (None, "", r"general_full_v1.ckpt .*SHA-256 b511f6be.*pull diffbir-v1-general-full`"),
        (Part.CONTROL, "diffbir-v1", r"general_swinir_v1.ckpt .*SHA-256 577b8f84.*pull diffbir-v1-general-swinir`"),
    ):
        if part is not None:
            stub(store, tmp_path, f"stub-{part}", part, architecture)
        with pytest.raises(WeightsMissing, match=message):
            find_files(store, Profile.SD21)


def test_architecture_that_nobody_knows_is_told(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    stub(store, tmp_path, "mine", Part.RESTORER, "flux")

    with pytest.raises(FeatureUnavailable, match=r"mine has the architecture flux; .*diffbir-v1"):
        find_files(store, Profile.SD21)


def test_damaged_file_is_told_by_name_before_it_is_read(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    record = stub(store, tmp_path, "mine", Part.RESTORER, "diffbir-v1")
    store.file_of(record).write_bytes(b"something else")

    with pytest.raises(WeightsCorrupt, match=f"mine .*not {record.sha256[:16]}.*misc weights add"):
        loaded(store)


def test_gpu_that_is_not_there_is_told() -> None:
    missing = DeviceConfig(f"cuda:{torch.cuda.device_count()}")
    with pytest.raises(FeatureUnavailable, match="MISC_NETWORK_DEVICE"):
        missing.resolve()
    assert replace(missing, device="cpu").resolve() == (torch.device("cpu"), torch.float32)


def test_an_older_set_that_is_whole_is_preferred_to_a_newer_one_that_is_cut_off(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    tiny.add_parts(store, tmp_path)
    older = find_files(store, Profile.SD21)
    stub(store, tmp_path, "v2.1", Part.CONTROL, "diffbir-v2.1")
    stub(store, tmp_path, "zsnr", Part.BASE, "sd21-zsnr")

    assert find_files(store, Profile.SD21) == older


def test_one_of_several_sets_is_chosen_by_its_name(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    whole = stub(store, tmp_path, "v1.ckpt", Part.RESTORER, "diffbir-v1")
    stub(store, tmp_path, "v2.ckpt", Part.RESTORER, "diffbir-v2")

    for name in ("diffbir-v1", "v1.ckpt"):
        assert find_files(store, Profile.SD21, name).whole == whole
    with pytest.raises(WeightsMissing, match=r"diffbir-v1, diffbir-v2"):
        find_files(store, Profile.SD21, "diffbir-v3")
