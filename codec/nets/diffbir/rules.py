"""How the keys of Stable Diffusion 2.1's and DiffBIR's checkpoints become parameters of our modules.

The left-hand names are those of the original latent diffusion code, the right-hand ones those of diffusers and
transformers. Each function gives the rules of one network, without the prefix that a file puts before its keys.
"""

from codec.nets.diffbir.config import TextConfig, UNetConfig, VAEConfig
from codec.nets.loading.key_rules import Names, Rule, as_linear, ignore, move, placed, thirds, under

_RESIDUAL = (
    move("in_layers.0.{p}", "norm1.{p}"),
    move("in_layers.2.{p}", "conv1.{p}"),
    move("emb_layers.1.{p}", "time_emb_proj.{p}"),
    move("out_layers.0.{p}", "norm2.{p}"),
    move("out_layers.3.{p}", "conv2.{p}"),
    move("skip_connection.{p}", "conv_shortcut.{p}"),
)

# The inside of a transformer has the same names in both libraries.
_ATTENTION = (
    move("norm.{p}", "norm.{p}"),
    move("proj_in.{p}", "proj_in.{p}"),
    move("transformer_blocks.{*inner}", "transformer_blocks.{inner}"),
    move("proj_out.{p}", "proj_out.{p}"),
)

_VAE_RESIDUAL = (
    move("norm1.{p}", "norm1.{p}"),
    move("conv1.{p}", "conv1.{p}"),
    move("norm2.{p}", "norm2.{p}"),
    move("conv2.{p}", "conv2.{p}"),
    move("nin_shortcut.{p}", "conv_shortcut.{p}"),
)

# Its projections are 1x1 convolutions in the checkpoints and linear layers in diffusers.
_VAE_ATTENTION = (
    move("norm.{p}", "group_norm.{p}"),
    move("q.{p}", "to_q.{p}", as_linear),
    move("k.{p}", "to_k.{p}", as_linear),
    move("v.{p}", "to_v.{p}", as_linear),
    move("proj_out.{p}", "to_out.0.{p}", as_linear),
)


def _encoder(config: UNetConfig) -> tuple[Rule, ...]:
    """The U-Net's first half and middle. The checkpoints number its blocks from first to last, levels and all."""

    def level_and_layer(names: Names) -> Names:
        level, layer = divmod(int(names["n"]) - 1, config.layers + 1)
        return {"level": str(level), "layer": str(layer)}

    return (
        move("time_embed.0.{p}", "time_embedding.linear_1.{p}"),
        move("time_embed.2.{p}", "time_embedding.linear_2.{p}"),
        move("input_blocks.0.0.{p}", "conv_in.{p}"),
        *placed(
            (
                *under("input_blocks.{#n}.0.", "down_blocks.{level}.resnets.{layer}.", _RESIDUAL),
                *under("input_blocks.{#n}.1.", "down_blocks.{level}.attentions.{layer}.", _ATTENTION),
                move("input_blocks.{#n}.0.op.{p}", "down_blocks.{level}.downsamplers.0.conv.{p}"),
            ),
            level_and_layer,
        ),
        *under("middle_block.0.", "mid_block.resnets.0.", _RESIDUAL),
        *under("middle_block.1.", "mid_block.attentions.0.", _ATTENTION),
        *under("middle_block.2.", "mid_block.resnets.1.", _RESIDUAL),
    )


def unet_rules(config: UNetConfig) -> tuple[Rule, ...]:
    """The denoising U-Net (`model.diffusion_model.` in a file)."""

    def level_and_layer(names: Names) -> Names:
        level, layer = divmod(int(names["n"]), config.layers + 1)
        return {"level": str(level), "layer": str(layer)}

    return (
        *_encoder(config),
        *placed(
            (
                *under("output_blocks.{#n}.0.", "up_blocks.{level}.resnets.{layer}.", _RESIDUAL),
                *under("output_blocks.{#n}.1.", "up_blocks.{level}.attentions.{layer}.", _ATTENTION),
                # It stands behind the attention, where the level has one.
                move("output_blocks.{#n}.{place}.conv.{p}", "up_blocks.{level}.upsamplers.0.conv.{p}"),
            ),
            level_and_layer,
        ),
        move("out.0.{p}", "conv_norm_out.{p}"),
        move("out.2.{p}", "conv_out.{p}"),
    )


def control_rules(config: UNetConfig) -> tuple[Rule, ...]:
    """The control network (`control_model.` in the single file, nothing in `v1_general.pth` and its successors)."""
    return (
        *_encoder(config),
        move("zero_convs.{#n}.0.{p}", "zero_convs.{n}.{p}"),
        move("middle_block_out.0.{p}", "mid_zero_conv.{p}"),
    )


def vae_encoder_rules() -> tuple[Rule, ...]:
    """The autoencoder's first half (`first_stage_model.`, and `cond_encoder.` once more)."""
    return (
        move("encoder.conv_in.{p}", "encoder.conv_in.{p}"),
        *under("encoder.down.{#i}.block.{#j}.", "encoder.down_blocks.{i}.resnets.{j}.", _VAE_RESIDUAL),
        move("encoder.down.{#i}.downsample.conv.{p}", "encoder.down_blocks.{i}.downsamplers.0.conv.{p}"),
        *_vae_half("encoder."),
        move("quant_conv.{p}", "quant_conv.{p}"),
    )


def vae_decoder_rules(config: VAEConfig) -> tuple[Rule, ...]:
    """The autoencoder's second half, whose levels the checkpoints number from the outside in."""

    def from_inside(names: Names) -> Names:
        return {"level": str(len(config.multipliers) - 1 - int(names["i"]))}

    return (
        move("post_quant_conv.{p}", "post_quant_conv.{p}"),
        move("decoder.conv_in.{p}", "decoder.conv_in.{p}"),
        *placed(
            (
                *under("decoder.up.{#i}.block.{#j}.", "decoder.up_blocks.{level}.resnets.{j}.", _VAE_RESIDUAL),
                move("decoder.up.{#i}.upsample.conv.{p}", "decoder.up_blocks.{level}.upsamplers.0.conv.{p}"),
            ),
            from_inside,
        ),
        *_vae_half("decoder."),
    )


def _vae_half(half: str) -> tuple[Rule, ...]:
    """What both halves have: the middle, and the last norm and convolution."""
    return (
        *under(f"{half}mid.block_1.", f"{half}mid_block.resnets.0.", _VAE_RESIDUAL),
        *under(f"{half}mid.attn_1.", f"{half}mid_block.attentions.0.", _VAE_ATTENTION),
        *under(f"{half}mid.block_2.", f"{half}mid_block.resnets.1.", _VAE_RESIDUAL),
        move(f"{half}norm_out.{{p}}", f"{half}conv_norm_out.{{p}}"),
        move(f"{half}conv_out.{{p}}", f"{half}conv_out.{{p}}"),
    )


def text_rules(config: TextConfig) -> tuple[Rule, ...]:
    """OpenCLIP's text tower (`cond_stage_model.model.`), all layers but the last."""
    last = config.layers - 1

    def before_the_last(names: Names) -> Names | None:
        return None if names["i"] == str(last) else {}

    layers = (
        move("ln_1.{p}", "layer_norm1.{p}"),
        Rule("attn.in_proj_{p}", tuple(f"self_attn.{name}_proj.{{p}}" for name in "qkv"), thirds),
        move("attn.out_proj.{p}", "self_attn.out_proj.{p}"),
        move("ln_2.{p}", "layer_norm2.{p}"),
        move("mlp.c_fc.{p}", "mlp.fc1.{p}"),
        move("mlp.c_proj.{p}", "mlp.fc2.{p}"),
    )
    return (
        move("token_embedding.weight", "embeddings.token_embedding.weight"),
        move("positional_embedding", "embeddings.position_embedding.weight"),
        *placed(under("transformer.resblocks.{#i}.", "encoder.layers.{i}.", layers), before_the_last),
        move("ln_final.{p}", "final_layer_norm.{p}"),
        ignore(f"transformer.resblocks.{last}.{{*rest}}", "Stable Diffusion 2 reads the layer before the last."),
        ignore("text_projection", "Only the pooled embedding passes it, which nothing here uses."),
        ignore("logit_scale", "It belongs to comparing texts with pictures."),
        ignore("attn_mask", "The causal mask, which older files carry, is made where it is used."),
    )


SCHEDULE_RULES = tuple(
    ignore(name, "The noise schedule is worked out from its two ends, in float64.")
    for name in (
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
        "logvar",
    )
)
"""Buffers of the original code that its files carry beside the networks."""

AVERAGE_RULES = tuple(
    ignore(name, "A counter of the moving average that the file's weights were taken from.")
    for name in ("model_ema.decay", "model_ema.num_updates")
)
