"""This project's codec as a comparison runs it: settings, files, restored and coarse pictures, seconds."""

from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from codec.bitstream.stream import Stream, Texts
from codec.captions import Captions
from codec.decode.coarse import rebuild_coarse
from codec.decode.pipeline import Decoded
from codec.decode.pipeline import decode as decode_stream
from codec.decode.restorers import Restorers
from codec.encode.dependencies import EncodeDependencies, resolve
from codec.encode.pipeline import Encoded
from codec.encode.pipeline import encode as encode_picture
from codec.errors import FeatureUnavailable, WeightsError
from codec.nets.compression.load import find_in, record_of
from codec.options import RATE_BUDGETS, DecodeOptions, EncodeOptions, Mode, Profile, RestorerName, parse_options
from codec.weights.store import WeightsStore

RATES = (1, 2, 3)

_BLOCKS = {1: 32, 2: 48, 3: 64}
"""Mode pixel has no rates of its own; these stand for them."""


@dataclass(frozen=True)
class Setting:
    """One point of our curve: what `misc encode` and `misc decode` are asked for."""

    rate: int
    encode: EncodeOptions
    decode: DecodeOptions


class OwnCodec:
    """Encodes and decodes with the networks of one folder of weights, which stay loaded."""

    def __init__(self, store: WeightsStore, restorers: Restorers) -> None:
        self._store, self._restorers = store, restorers

    def encode(
        self, picture: Image.Image, setting: Setting, *, source_name: str = "", captions: Captions | None = None
    ) -> Encoded:
        """A whole file of an RGB picture; errors as `codec.encode.pipeline.encode`."""
        dependencies = resolve(EncodeDependencies(), setting.encode, self._store, has_captions=captions is not None)
        return encode_picture(
            picture, setting.encode, source_name=source_name or None, captions=captions, dependencies=dependencies
        )

    def decode(self, data: bytes, options: DecodeOptions) -> Decoded:
        """The restored picture; errors as `codec.decode.pipeline.decode`."""
        with self._restorers.use(options) as restorer:
            return decode_stream(data, options, restorer=restorer, find_network=find_in(self._store))

    def texts(self, picture: Image.Image, setting: Setting, *, source_name: str, captions: Captions | None) -> Texts:
        """What a file of the picture would say in words, without coding the picture itself."""
        values = {"mode": Mode.PIXEL, "blocks": 1}
        options = parse_options(EncodeOptions, _given(setting.encode) | values)
        return self.encode(
            picture, replace(setting, encode=options), source_name=source_name, captions=captions
        ).stream.texts

    def coarse(self, stream: Stream) -> Image.Image:
        """What the restorer begins with, at the picture's size."""
        return rebuild_coarse(stream, find_network=find_in(self._store))

    def warm_up(self, settings: tuple[Setting, ...]) -> None:
        """Load what the settings need, so that no picture's seconds have the loading in them."""
        grey = Image.new("RGB", (64, 64), (128, 128, 128))
        for setting in settings:
            options = without_text(setting.encode)
            if options.mode is Mode.REF:
                # It has no networks to load, and no codec meets the budget on so small a picture.
                options = parse_options(EncodeOptions, _given(options) | {"mode": Mode.PIXEL})
            encoded = self.encode(grey, replace(setting, encode=options))
            self.decode(encoded.data, setting.decode)


def without_text(options: EncodeOptions) -> EncodeOptions:
    """The same without a description, and so without maps."""
    return parse_options(EncodeOptions, _given(options) | {"describe": "none", "text": None, "description": None})


def settings_of(
    store: WeightsStore,
    *,
    profile: Profile,
    mode: Mode | None = None,
    describe: str = "local",
    maps: bool = True,
    restorer: RestorerName | None = None,
) -> tuple[Setting, ...]:
    """Three settings, one a rate. Without a mode it is the profile's own.

    Raises WeightsMissing when it is net and a network is not here.
    """
    mode = mode or parse_options(EncodeOptions, {"profile": profile}).mode
    if mode is Mode.NET:
        for rate in RATES:
            record_of(store, profile=profile, rate=rate)
    decode = parse_options(DecodeOptions, {"profile": profile, "restorer": restorer})
    settings = []
    for rate in RATES:
        values: dict[str, Any] = {"mode": mode, "describe": describe, "maps": maps, "profile": profile, "rate": rate}
        if mode is Mode.PIXEL:
            values["blocks"] = _BLOCKS[rate]
        elif mode is Mode.REF:
            values["max_bpp"] = RATE_BUDGETS[rate]
        settings.append(Setting(rate, parse_options(EncodeOptions, values), decode))
    return tuple(settings)


def restorer_here(restorers: Restorers, profile: Profile) -> RestorerName | None:
    """None, the profile's own, where its networks are here; else the restorer that needs none."""
    try:
        restorers.check(DecodeOptions(profile=profile))
    except (WeightsError, FeatureUnavailable):
        return RestorerName.SMOOTH
    return None


def _given(options: EncodeOptions) -> dict[str, Any]:
    return options.model_dump(exclude_unset=True)
