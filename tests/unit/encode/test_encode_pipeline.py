"""From picture to stream: which texts and maps are stored, what is refused, and what is told on the way."""

import hashlib
import io
import sys
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from codec.bitstream import ExternalCoarse, PixelCoarse, RefCoarse, Texts, unpack
from codec.captions import Captions
from codec.description import Description, Item
from codec.encode.coarse.external import Reference
from codec.encode.dependencies import EncodeDependencies, Fallback
from codec.encode.describe.choose import ModelOutcome
from codec.encode.pipeline import encode
from codec.errors import (
    BudgetUnreachable,
    Cancelled,
    CaptionsError,
    DescriberError,
    DescriptionRefused,
    FeatureUnavailable,
    OptionError,
    PictureUnrecognised,
)
from codec.language_model import Answer
from codec.options import EncodeOptions, GivenDescription, GivenItem, Mode, parse_options
from codec.picture.avif import AVIFSetting, write_avif
from codec.usage import Usage

ITEMS = (Item("cat", "a grey cat"), Item("sofa", "a red sofa"), Item("lamp", "a tall lamp"))


def picture(width: int = 96, height: int = 64) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 2 % 256, y * 3 % 256, (x + y) % 256], axis=-1).astype(np.uint8))


@pytest.fixture
def local_describer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A describer of three fixed items whose maps are the picture's left, right and lower part."""
    maps = [np.zeros((16, 16), dtype=np.float32) for _ in range(3)]
    maps[0][:, :8], maps[1][:, 8:], maps[2][8:] = 1, 1, 1
    found = types.SimpleNamespace(description=Description(ITEMS, "A cat on a sofa."), maps=tuple(maps))
    module = types.ModuleType("codec.encode.describe.local")
    module.describe_locally = lambda picture, tagger: found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "codec.encode.describe.local", module)


def options(**values: object) -> EncodeOptions:
    return EncodeOptions.model_validate({"describe": "none", "mode": "pixel", **values})


def test_stream_holds_what_is_reported() -> None:
    encoded = encode(picture(), options(text="Stripes."))
    unpacked = unpack(encoded.data)
    assert unpacked.stream == encoded.stream and unpacked.bits == encoded.bits
    assert encoded.bits.total == 8 * len(encoded.data)
    assert encoded.bpp == 8 * len(encoded.data) / (96 * 64)
    assert (encoded.stream.width, encoded.stream.height) == (96, 64)
    assert isinstance(encoded.stream.coarse, PixelCoarse)


@pytest.mark.usefixtures("local_describer")
def test_local_items_come_with_their_maps_and_without_their_names() -> None:
    encoded = encode(picture(), options(describe="local"))
    assert encoded.describer == "local"
    assert encoded.description.items == ITEMS
    assert encoded.stream.texts == Texts(("a grey cat", "a red sofa", "a tall lamp"), "A cat on a sofa.")
    assert [mask[:8] for mask in encoded.stream.maps.masks] == [
        bytes([1] * 4 + [0] * 4),
        bytes([0] * 4 + [1] * 4),
        bytes(8),
    ]


@pytest.mark.usefixtures("local_describer")
def test_maps_off_stores_the_overall_text_only() -> None:
    encoded = encode(picture(), options(describe="local", maps=False))
    assert encoded.stream.maps is None
    assert encoded.stream.texts == Texts((), "A cat on a sofa.")


@pytest.mark.usefixtures("local_describer")
def test_given_text_replaces_the_describer() -> None:
    encoded = encode(picture(), options(describe="local", text="Mine, exactly. "))
    assert encoded.describer == "given"
    assert encoded.stream.texts == Texts((), "Mine, exactly. ")
    assert encoded.stream.maps is None


@pytest.mark.usefixtures("local_describer")
def test_items_described_elsewhere_get_no_maps_and_a_note() -> None:
    given = GivenDescription(items=tuple(GivenItem(name=i.name, detail=i.detail) for i in ITEMS), overall="All.")
    encoded = encode(picture(), options(describe="local", description=given))
    assert encoded.describer == "given"
    assert encoded.stream.texts == Texts((), "All."), "no decoder reads a detail without its map"
    assert encoded.stream.maps is None and encoded.description.items == ITEMS
    assert "cannot be located" in encoded.notes[0]


class _Corners:
    """Finds every name in the upper left corner, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def locate(self, picture: Image.Image, names: Sequence[str]) -> list[npt.NDArray[np.floating[Any]]]:
        self.names = list(names)
        found = np.zeros((64, 64), dtype=np.float32)
        found[:32, :32] = 1
        return [found for _ in names]


class _Model:
    """Gives one answer, or one error."""

    def __init__(self, outcome: Answer | DescriberError) -> None:
        self.outcome = outcome

    def describe(self, picture: Image.Image, cancelled: Callable[[], bool]) -> Answer:
        if isinstance(self.outcome, DescriberError):
            raise self.outcome
        return self.outcome


ANSWER = Answer(Description(ITEMS, "A cat on a sofa."), Usage("tiny", 900, 80, 0.0002, 1.5))


def test_items_described_elsewhere_are_located_by_name_or_else_by_detail() -> None:
    given = GivenDescription(items=(GivenItem(name="cat", detail="a grey cat"), GivenItem(detail="a red sofa")))
    corners = _Corners()
    encoded = encode(
        picture(), options(description=given, map_edge=4), dependencies=EncodeDependencies(locator=corners)
    )
    assert corners.names == ["cat", "a red sofa"]
    assert encoded.stream.maps is not None and encoded.stream.maps.edge == 4
    assert encoded.stream.maps.masks[0] == bytes([1, 1, 0, 0] * 2 + [0] * 8)
    assert encoded.notes == ()


def test_model_answer_is_stored_and_its_cost_is_told() -> None:
    dependencies = EncodeDependencies(describer=_Model(ANSWER), locator=_Corners())
    encoded = encode(picture(), options(describe="openai"), dependencies=dependencies)
    assert encoded.describer == "openai" and encoded.usage == ANSWER.usage
    assert encoded.stream.texts == Texts(tuple(item.detail for item in ITEMS), "A cat on a sofa.")
    assert encoded.stream.maps is not None


def test_model_that_was_asked_before_is_not_asked_again() -> None:
    dependencies = EncodeDependencies(
        describer=_Model(DescriptionRefused("never to be reached")), fallback=Fallback.FAIL
    )
    encoded = encode(
        picture(),
        options(describe="openai", maps=False),
        dependencies=dependencies,
        outcome=ModelOutcome(answer=ANSWER),
    )
    assert encoded.stream.texts == Texts((), "A cat on a sofa.")


@pytest.mark.usefixtures("local_describer")
def test_refusing_model_is_replaced_by_the_fallback_with_a_note() -> None:
    model = _Model(DescriptionRefused("The model refused."))
    local = encode(picture(), options(describe="openai"), dependencies=EncodeDependencies(describer=model))
    assert local.describer == "local" and local.stream.maps is not None
    assert "The model refused." in local.notes[0]
    bare = encode(picture(), options(describe="openai"), dependencies=EncodeDependencies(model, Fallback.NONE))
    assert bare.describer == "none" and bare.stream.texts == Texts()
    assert "The model refused." in bare.notes[0]
    with pytest.raises(DescriptionRefused):
        encode(picture(), options(describe="openai"), dependencies=EncodeDependencies(model, Fallback.FAIL))


def test_captions_are_matched_by_file_name() -> None:
    captions = Captions("c.csv", {"cat.png": Description(ITEMS, "A cat.")})
    encoded = encode(picture(), options(), source_name="cat.png", captions=captions)
    assert encoded.describer == "captions" and encoded.stream.texts.overall == "A cat."
    with pytest.raises(CaptionsError, match=r"dog\.png"):
        encode(picture(), options(), source_name="dog.png", captions=captions)


def test_without_a_describer_there_is_no_text() -> None:
    encoded = encode(picture(), options())
    assert (encoded.describer, encoded.bits.text, encoded.bits.maps) == ("none", 0, 0)


def test_stages_are_announced_in_order_and_timed() -> None:
    stages: list[tuple[str, float]] = []
    encoded = encode(picture(), options(), on_stage=lambda stage, progress: stages.append((stage, progress)))
    assert [stage for stage, _ in stages] == ["describe", "locate", "coarse", "pack", "done"]
    progress = [share for _, share in stages]
    assert progress == sorted(progress) and progress[-1] == 1.0
    assert set(encoded.seconds) == {"describe", "locate", "coarse", "pack", "total"}
    dependencies = [encoded.seconds[stage] for stage in ("describe", "locate", "coarse", "pack")]
    assert sum(dependencies) == pytest.approx(encoded.seconds["total"], abs=1e-6)


def test_cancelling_stops_between_stages() -> None:
    stages: list[str] = []
    with pytest.raises(Cancelled):
        encode(
            picture(),
            options(),
            on_stage=lambda stage, _: stages.append(stage),
            cancelled=lambda: "locate" in stages,
        )
    assert stages == ["describe", "locate"]


def test_reference_mode_keeps_the_budget_of_the_whole_file() -> None:
    encoded = encode(picture(), options(mode="ref", codec="webp", max_bpp=0.7, text="Coloured stripes in a grid."))
    assert isinstance(encoded.stream.coarse, RefCoarse)
    assert encoded.bpp <= 0.7
    with pytest.raises(BudgetUnreachable, match="smallest it reaches"):
        encode(picture(), options(mode="ref", codec="webp", max_bpp=0.01))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, RefCoarse),
        ({"profile": "lite"}, RefCoarse),
        ({"profile": "sd21"}, PixelCoarse),
        ({"mode": "pixel"}, PixelCoarse),
    ],
)
def test_mode_that_nobody_names_is_the_profiles_own(values: dict[str, str], kind: type) -> None:
    encoded = encode(picture(), EncodeOptions.model_validate({"describe": "none", **values}))
    assert isinstance(encoded.stream.coarse, kind)
    assert encoded.stream.profile == values.get("profile", "lite")


@pytest.mark.parametrize("profile", ["sd3", 7, [1], {"lite": 1}])
def test_profile_that_is_none_is_refused_by_name(profile: object) -> None:
    with pytest.raises(OptionError, match="profile"):
        parse_options(EncodeOptions, {"profile": profile})


def test_default_budget_that_cannot_be_met_is_noted() -> None:
    encoded = encode(picture(), options(mode="ref", codec="webp"))
    assert "smallest setting" in encoded.notes[0]
    assert encoded.bpp > 0.05


def test_external_reference_is_named_by_digest_and_stays_outside() -> None:
    out = io.BytesIO()
    picture(48, 32).save(out, "PNG")
    reference = Reference(out.getvalue(), 0.03)
    encoded = encode(picture(), options(mode="ref"), reference=reference)
    digest = hashlib.sha256(out.getvalue()).digest()[:16]
    assert encoded.stream.coarse == ExternalCoarse(digest, round(0.03 * 96 * 64))
    assert encoded.reference == out.getvalue()
    assert len(encoded.data) < 40


def test_reference_that_is_no_picture_or_has_no_rate_is_refused() -> None:
    with pytest.raises(PictureUnrecognised):
        encode(picture(), options(mode="ref"), reference=Reference(b"text", 0.03))
    for bpp in (0.0, -1.0, float("nan"), float("inf"), 1e9):
        with pytest.raises(OptionError, match="bpp"):
            encode(picture(), options(mode="ref"), reference=Reference(b"", bpp))


def test_what_is_not_built_in_is_refused_with_a_remedy() -> None:
    with pytest.raises(FeatureUnavailable, match="misc weights"):
        encode(picture(), options(mode="net"))
    with pytest.raises(FeatureUnavailable, match="MISC_LMM_API_KEY"):
        encode(picture(), options(describe="openai"))
    with pytest.raises(OptionError, match="--mode ref"):
        encode(picture(), options(), reference=Reference(b"", 1.0))


def test_one_pixel_encodes() -> None:
    assert encode(picture(1, 1), options()).stream.width == 1


def test_rate_is_a_budget_where_pictures_come_through_another_codec() -> None:
    budgets = [parse_options(EncodeOptions, {"rate": rate}).max_bpp for rate in (1, 2, 3)]
    assert budgets == [0.02, 0.03, 0.05]
    assert parse_options(EncodeOptions, {"mode": "ref", "rate": 1}).max_bpp == 0.02
    assert parse_options(EncodeOptions, {"rate": 1, "max_bpp": 0.04}).max_bpp == 0.04
    assert parse_options(EncodeOptions, {"mode": "net", "rate": 1}).max_bpp is None
    assert parse_options(EncodeOptions, {}).max_bpp is None


def test_options_that_were_stored_mean_the_same_when_they_are_read() -> None:
    for values in ({}, {"rate": 1}, {"mode": "net", "rate": 3}, {"mode": "ref", "codec": "webp"}, {"max_bpp": 0.04}):
        chosen = parse_options(EncodeOptions, values)
        assert parse_options(EncodeOptions, chosen.model_dump(mode="json")) == chosen


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ({"blocks": 8}, Mode.PIXEL),
        ({"level": 0}, Mode.PIXEL),
        ({"published_grid": True}, Mode.PIXEL),
        ({"published_grid": False}, Mode.REF),
        ({"rate": 1}, Mode.REF),
        ({"rate": 1, "profile": "sd21"}, Mode.NET),
        ({"rate": 1, "network": "mine"}, Mode.NET),
        ({"network": "mine"}, Mode.NET),
        ({"profile": "sd21", "max_bpp": 0.03}, Mode.REF),
        ({"mode": "pixel", "max_bpp": 0.03}, Mode.PIXEL),
    ],
)
def test_option_of_one_mode_means_that_mode_unless_another_is_named(values: dict[str, object], mode: Mode) -> None:
    assert parse_options(EncodeOptions, values).mode is mode


def describe_by(monkeypatch: pytest.MonkeyPatch, describe_locally: Callable[[Image.Image, object], object]) -> None:
    """Put a function in the place of the built-in describer's."""
    module = types.ModuleType("codec.encode.describe.local")
    module.describe_locally = describe_locally  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "codec.encode.describe.local", module)


def test_detail_of_an_item_that_is_nowhere_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    somewhere = np.zeros((16, 16), dtype=np.float32)
    somewhere[:, :8] = 1
    maps = (somewhere, np.zeros((16, 16), dtype=np.float32), somewhere)
    found = types.SimpleNamespace(description=Description(ITEMS, "A cat."), maps=maps)
    describe_by(monkeypatch, lambda picture, tagger: found)
    encoded = encode(picture(), options(describe="local"))
    assert encoded.stream.texts == Texts(("a grey cat", "", "a tall lamp"), "A cat.")
    assert encoded.stream.maps is not None and not any(encoded.stream.maps.masks[1])
    assert encoded.description.items == ITEMS, "the archive keeps it for search"


SENTENCE = (
    "Sunlight falls through tall windows onto old wooden boards, and dust hangs in the air above them. Behind a ladder "
    "somebody left brushes, a kettle and 7 jars of ochre; Zdenka's quilt covers what may be a harpsichord."
)


@pytest.mark.parametrize(("max_bpp", "overall"), [(0.2, ""), (8.0, SENTENCE)])
def test_sentence_that_nobody_wrote_is_stored_where_the_budget_is_large(
    max_bpp: float, overall: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = np.zeros((16, 16), dtype=np.float32)
    halves[:, :8] = 1
    found = types.SimpleNamespace(description=Description(ITEMS, SENTENCE), maps=(halves,) * 3)
    describe_by(monkeypatch, lambda picture, tagger: found)
    encoded = encode(picture(192, 128), options(describe="local", mode="ref", max_bpp=max_bpp))
    assert encoded.stream.texts == Texts(("a grey cat", "a red sofa", "a tall lamp"), overall)
    assert encoded.description.overall == SENTENCE


def test_text_of_the_callers_is_stored_whatever_the_budget() -> None:
    encoded = encode(picture(192, 128), options(text=SENTENCE, mode="ref", max_bpp=0.2))
    assert encoded.stream.texts.overall == SENTENCE


def test_trials_are_made_while_the_picture_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()

    def noted(picture: Image.Image, setting: AVIFSetting) -> bytes:
        written.set()
        return write_avif(picture, setting)

    def describe_locally(picture: Image.Image, tagger: object) -> types.SimpleNamespace:
        assert written.wait(30), "nothing was tried until the description was there"
        return types.SimpleNamespace(description=Description((), "A cat."), maps=())

    describe_by(monkeypatch, describe_locally)
    monkeypatch.setattr("codec.encode.coarse.avif_search.write_avif", noted)
    assert encode(picture(), options(describe="local", mode="ref", max_bpp=0.6)).bpp <= 0.6


def test_trials_end_with_an_encode_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def describe_locally(picture: Image.Image, tagger: object) -> None:
        raise DescriptionRefused("It has no words for this.")

    describe_by(monkeypatch, describe_locally)
    before = threading.active_count()
    with pytest.raises(DescriptionRefused):
        encode(picture(), options(describe="local", mode="ref", max_bpp=0.6))
    assert threading.active_count() == before
