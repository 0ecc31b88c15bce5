"""Gets the networks that an encode asks for from the folder of weights. Loads nothing that it does not ask for."""

from dataclasses import replace

from codec.encode.describe.choose import needs_model
from codec.encode.parts import EncodeDependencies
from codec.options import EncodeOptions, Mode
from codec.weights.store import WeightsStore


def equipped(
    parts: EncodeDependencies, options: EncodeOptions, store: WeightsStore, *, has_captions: bool = False
) -> EncodeDependencies:
    """The parts with the learned codec and the locator that these options need; a missing locator is no error.

    Networks are loaded once a process. Raises WeightsError children, and FeatureUnavailable where the libraries for
    networks are not installed.
    """
    locator, coarse_network = None, None
    described_elsewhere = has_captions or options.description is not None or needs_model(options)
    if options.maps and described_elsewhere and options.text is None:
        from codec.encode.locate.load import load_locator

        locator = load_locator(store)
    if options.mode is Mode.NET:
        from codec.nets.compression.load import load_coarse_network

        coarse_network = load_coarse_network(store, name=options.network, profile=options.profile, rate=options.rate)
    return replace(parts, locator=locator, coarse_network=coarse_network)
