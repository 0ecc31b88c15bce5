"""What an order is priced by is what the networks of each profile do."""

from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.lite import LiteNetworks
from codec.decode_price import PROFILE_COSTS
from codec.options import Profile


def test_prices_are_those_of_the_networks() -> None:
    for profile, networks in ((Profile.LITE, LiteNetworks), (Profile.SD21, DiffBIRNetworks)):
        costs, sampling = PROFILE_COSTS[profile], networks.sampling
        assert costs.res_px == networks.res_px
        assert (sampling.fast_steps, sampling.item_steps, sampling.item_guidance) == (
            costs.fast_steps,
            costs.item_steps,
            costs.item_guidance,
        )
        assert (sampling.overall_steps, sampling.overall_guidance) == (
            costs.overall_steps,
            costs.overall_guidance,
        )
