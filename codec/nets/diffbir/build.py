"""Builds the networks of other libraries in Stable Diffusion's dimensions. Loads nothing."""

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from codec.nets.diffbir.config import TextConfig, UNetConfig, VAEConfig


def build_unet(config: UNetConfig, in_channels: int | None = None) -> UNet2DConditionModel:
    """The denoising U-Net, with another number of input channels where one is given."""
    return UNet2DConditionModel(
        in_channels=in_channels or config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.widths,
        layers_per_block=config.layers,
        down_block_types=tuple("CrossAttnDownBlock2D" if it else "DownBlock2D" for it in config.attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if it else "UpBlock2D" for it in reversed(config.attention)),
        cross_attention_dim=config.context_width,
        # diffusers' name is a mistake that it keeps: the values are numbers of heads.
        attention_head_dim=tuple(width // config.head_width for width in config.widths),
        use_linear_projection=True,
    )


def build_vae(config: VAEConfig) -> AutoencoderKL:
    """The autoencoder with a Gaussian posterior, eight pixels a latent."""
    levels = len(config.multipliers)
    return AutoencoderKL(
        block_out_channels=tuple(config.width * multiplier for multiplier in config.multipliers),
        layers_per_block=config.layers,
        latent_channels=config.latent_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        scaling_factor=config.latent_scale,
    )


def build_text_encoder(config: TextConfig) -> CLIPTextModel:
    """The text tower without its last layer: Stable Diffusion 2 reads the penultimate one through the final norm."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            num_hidden_layers=config.layers - 1,
            num_attention_heads=config.heads,
            max_position_embeddings=config.length,
            hidden_act="gelu",
            # CLIP's own are the last two of its vocabulary; a smaller vocabulary must not name ids outside of it.
            bos_token_id=config.vocabulary - 2,
            eos_token_id=config.vocabulary - 1,
        )
    )
