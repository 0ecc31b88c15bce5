"""Everything that can be tried on this machine, in the order in which a person is told."""

import importlib
import importlib.metadata
import importlib.util
import io
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cli.doctor import parts
from cli.doctor.check import Check

_LIBRARIES = ("numpy", "pillow", "scikit-image", "scipy", "sqlalchemy", "celery", "redis", "fastapi", "httpx")


def local_checks(data: Path) -> Iterator[Check]:
    """Everything that can be tried on this machine; `data` is the folder that `misc up` would use."""
    yield _python()
    yield _libraries()
    yield from _picture_formats()
    yield _reference_codecs()
    yield _codec()
    yield _restorer()
    yield parts.redis()
    yield parts.database(data)
    yield parts.storage(data)
    yield parts.settings()
    yield parts.temp_folder()
    yield _weights()
    yield _gpu()
    yield from _model()
    yield _clock()


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    is_known = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Check("python", is_known, version, "Use Python 3.11 or 3.12; not all libraries have wheels for others.")


def _libraries() -> Check:
    found, missing = [], []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check(
            "libraries", False, f"not installed: {', '.join(missing)}", "Run: pip install 'misc-archive[local]'"
        )
    return Check("libraries", True, ", ".join(found))


def _picture_formats() -> Iterator[Check]:
    from codec.picture.formats import FORMATS

    always = {"JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP"}
    for entry in FORMATS:
        is_there, version = _can_read(entry.module, entry.package)
        needed = entry.name in always
        advice = f"Run: pip install {entry.package}" + ("" if needed else f", if you have {entry.name} pictures")
        yield Check(f"reads {entry.name}", is_there, version, advice, is_essential=needed)


def _can_read(module: str, package: str) -> tuple[bool, str]:
    from PIL import features

    try:
        importlib.import_module(module)
        version = f"{package} {importlib.metadata.version(package)}"
    except (ImportError, OSError) as error:
        return False, str(error)
    # Pillow's own classes are always importable; the library below them may have been left out of a build.
    codec = {"PIL.WebPImagePlugin": "webp", "PIL.AvifImagePlugin": "avif", "PIL.JpegImagePlugin": "jpg"}.get(module)
    if codec is not None and not features.check(codec):
        return False, f"this {package} was built without it"
    return True, version


def _reference_codecs() -> Check:
    from PIL import Image

    # Registers JPEG XL with Pillow; a plugin that does not load is found by the attempt below.
    with suppress(ImportError, OSError):
        importlib.import_module("pillow_jxl")
    names = {"AVIF": "avif", "WEBP": "webp", "JXL": "jxl", "JPEG": "jpeg"}
    missing = []
    for file_format, name in names.items():
        try:
            Image.new("RGB", (16, 16), "teal").save(io.BytesIO(), file_format)
        except (OSError, KeyError, ValueError):
            missing.append(name)
    there = ", ".join(name for name in names.values() if name not in missing)
    detail = f"mode ref can use {there}" + (f", not {', '.join(missing)}" if missing else "")
    return Check(
        "ref codecs", not missing, detail, "Run: pip install pillow-jxl-plugin 'pillow>=12'", is_essential=False
    )


def _codec() -> Check:
    advice = "Install again: pip install --force-reinstall 'misc-archive[local]'"
    try:
        import numpy as np
        from PIL import Image

        from codec.decode.pipeline import decode
        from codec.encode.pipeline import encode
        from codec.options import DecodeOptions, EncodeOptions, RestorerName

        rows = np.mgrid[0:48, 0:64][0].astype(np.uint8)
        picture = Image.fromarray(np.stack([rows * 5, rows * 2, 255 - rows], axis=-1))
        started = time.perf_counter()
        encoded = encode(picture, EncodeOptions())
        decoded = decode(encoded.data, DecodeOptions(restorer=RestorerName.SMOOTH))
        seconds = time.perf_counter() - started
    except Exception as error:  # noqa: BLE001 - whatever breaks here is what the person wants to know
        return Check("codec", False, f"{type(error).__name__}: {error}", advice)
    is_well = decoded.picture.size == picture.size
    return Check(
        "codec", is_well, f"a 64x48 picture became {len(encoded.data)} bytes and back in {seconds:.1f} s", advice
    )


def _restorer() -> Check:
    from cli.local.networks import restorers
    from codec.options import Profile

    advice = "Without it pictures come back by --restorer smooth only."
    started = time.perf_counter()
    try:
        restorers().warm_up(Profile.LITE)
    except Exception as error:  # noqa: BLE001 - whatever breaks here is what the person wants to know
        # Machines that only encode, and those that restore with --restorer smooth, need no networks.
        return Check("restorer", False, str(error), advice, is_essential=False)
    seconds = time.perf_counter() - started
    detail = f"the networks of the profile lite were loaded and restored a picture within {seconds:.1f} s"
    return Check("restorer", True, detail, is_essential=False)


def _weights() -> Check:
    from cli.local.weights import weights_folder
    from codec.errors import WeightsError
    from codec.weights.store import State, WeightsStore
    from core.errors import ServiceError

    try:
        store = WeightsStore(weights_folder())
        here = {entry.name: entry.state for entry in store.listing() if entry.record is not None}
        own = [name for name in here if not store.is_shipped(name)]
    except (WeightsError, ServiceError) as error:
        return Check("weights", False, str(error), "Correct or unset MISC_WEIGHTS_PATH.", is_essential=False)
    bad = [f"{name} is {state}" for name, state in here.items() if state in (State.CORRUPT, State.MISSING)]
    if bad:
        advice = "Run `misc weights verify`, and do what it says."
        return Check("weights", False, ", ".join(bad), advice, is_essential=False)
    shipped = f"{len(here) - len(own)} files come with the program"
    if not own:
        detail = f"{shipped}, no others are here; `misc weights pull sd21` fetches the published ones"
        return Check("weights", True, detail, is_essential=False)
    return Check("weights", True, f"{shipped}; {', '.join(own)} in {store.path}", is_essential=False)


def _model() -> Iterator[Check]:
    """Nothing where no model is configured; else what it says of one picture, which may cost a fraction of a cent."""
    from cli.doctor.model import look_at_model
    from core.errors import SettingsInvalid
    from core.settings import LMMSettings, load

    try:
        settings = load(LMMSettings)
    except SettingsInvalid:
        return  # told by the check of the settings
    if settings.is_configured:
        is_well, detail = look_at_model(settings)
        advice = "Correct the MISC_LMM_ settings; a model that sees nothing may read texts only, or its server too."
        yield Check("language model", is_well, detail, advice, is_essential=False)


def _gpu() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check(
            "gpu", False, "torch is not installed", "Run: pip install 'misc-archive[nets]'", is_essential=False
        )
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        return Check("gpu", True, str(torch.cuda.get_device_name(0)), is_essential=False)
    return Check("gpu", False, "torch sees no CUDA device", "Decoding runs on the CPU.", is_essential=False)


def _clock() -> Check:
    # Nothing can have been installed in the future; a clock that was reset breaks leases and TLS alike.
    installed = Path(__file__).stat().st_mtime
    is_well = time.time() > installed - 60
    return Check("clock", is_well, time.strftime("%Y-%m-%d %H:%M:%S %z"), "Set the clock, best by NTP.")
