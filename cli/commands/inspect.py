"""`misc inspect`: what is in a `.misc` file. It decodes no picture."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, describe_error
from cli.local.declared import declared_of
from cli.local.streams import read_input
from cli.output import print_json, say, show

if TYPE_CHECKING:
    from codec.bitstream import Stream

_HELP = """Show what is in .misc files: size, bits per pixel, where the bits went, texts, maps, digests. Of a picture \
that misc decode wrote, show how it was made.

Several files, or a folder, become a table.

Examples:

  misc inspect photo.misc

  misc inspect archive/

  misc inspect back.png
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", help=_HELP)(inspect)


def inspect(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help=".misc files, reconstructions or folders; - is stdin.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Inspect files; the help text is `_HELP`."""
    is_single = len(files) == 1 and not files[0].is_dir()
    documents = [_document(path) for path in (files if is_single else _streams_among(files))]
    for document in documents:
        if "error" in document:
            say(f"{document['file']}: {document['error']['message']}")
    if as_json:
        print_json(documents[0] if is_single else {"files": documents})
    elif not is_single:
        _show_table([document for document in documents if "error" not in document])
    elif "error" not in documents[0]:
        _show_mark(documents[0]) if "mark" in documents[0] else _show(documents[0])
    if any("error" in document for document in documents):
        raise typer.Exit(FAILED)


def _streams_among(paths: list[Path]) -> list[Path]:
    """The files themselves, and the `.misc` files of folders."""
    return [file for path in paths for file in (sorted(path.rglob("*.misc")) if path.is_dir() else [path])]


def _document(path: Path) -> dict[str, Any]:
    """What is in one file, or its `error`."""
    from codec.errors import CodecError
    from codec.limits import MAX_STREAM_BYTES
    from core.errors import SettingsInvalid

    try:
        if is_picture_name(path):
            return mark_of(path)
        source = read_input(path)
        if isinstance(source, Path):
            with source.open("rb") as opened:
                source = opened.read(MAX_STREAM_BYTES + 1)
        return contents(str(path), source[: MAX_STREAM_BYTES + 1])
    except (CodecError, SettingsInvalid, OSError) as error:
        return {"file": str(path), "error": describe_error(error)}


def is_picture_name(path: Path) -> bool:
    """Whether a file is called as pictures are, and not as streams."""
    from codec.media import PICTURE_SUFFIXES

    return path.suffix.lower() in PICTURE_SUFFIXES


def mark_of(path: Path) -> dict[str, Any]:
    """How a picture says it was made, and who signed that. Raises PictureUnrecognised for one that says nothing."""
    from codec.picture.mark import read_mark
    from core.settings import MarkSettings, load

    return {"file": str(path), "mark": read_mark(path, load(MarkSettings).authorities())}


def contents(name: str, data: bytes) -> dict[str, Any]:
    """The document that `misc inspect --json` prints. Raises StreamError children."""
    from codec.bitstream import ExternalCoarse, unpack

    unpacked = unpack(data)
    stream, bits = unpacked.stream, unpacked.bits
    pixels = stream.width * stream.height
    document: dict[str, Any] = {
        "file": name,
        "bytes": len(data),
        "width": stream.width,
        "height": stream.height,
        "bpp": 8 * len(data) / pixels,
        "bits": {part: getattr(bits, part) for part in ("container", "text", "maps", "coarse")},
        "mode": "ref" if isinstance(stream.coarse, ExternalCoarse) else stream.coarse.kind.value,
        "profile": stream.profile,
        "external": isinstance(stream.coarse, ExternalCoarse),
    }
    document |= declared_of(stream, bits)
    weights = {"coarse": stream.coarse_network, "restorer": stream.restorer_network}
    return document | {
        "description": {
            "items": [{"detail": detail} for detail in stream.texts.details],
            "overall": stream.texts.overall,
        },
        "maps": _map_rows(stream),
        "weights": {part: digest.hex() for part, digest in weights.items() if digest is not None},
        "coarse": _coarse(stream),
        "grain": stream.grain,
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _map_rows(stream: "Stream") -> list[list[list[int]]]:
    """One map an item, each as rows of 0 and 1."""
    if stream.maps is None:
        return []
    edge = stream.maps.edge
    return [[list(mask[row * edge : (row + 1) * edge]) for row in range(edge)] for mask in stream.maps.masks]


def _coarse(stream: "Stream") -> dict[str, Any]:
    from codec.bitstream import NetCoarse, PixelCoarse, RefCoarse

    coarse = stream.coarse
    if isinstance(coarse, PixelCoarse):
        return {"columns": coarse.columns, "rows": coarse.rows, "level": coarse.level}
    if isinstance(coarse, RefCoarse):
        return {"codec": coarse.codec, "scale": coarse.scale}
    if isinstance(coarse, NetCoarse):
        return {"scale": coarse.scale}
    return {"digest": coarse.digest.hex(), "reference_bits": coarse.declared_bits}


def _show(document: dict[str, Any]) -> None:
    mode = document["mode"] + (" (external reference)" if document["external"] else "")
    details = ", ".join(f"{name} {value}" for name, value in document["coarse"].items())
    lines = [
        document["file"],
        f"  picture   {document['width']}x{document['height']}",
        f"  file      {document['bytes']} bytes, {document['bpp']:.4f} bpp",
        "  bits      " + ", ".join(f"{part} {count}" for part, count in document["bits"].items()),
        f"  mode      {mode}: {details}",
        f"  profile   {document['profile']}",
        f"  sha256    {document['sha256']}",
    ]
    if document["external"]:
        lines.append(f"  declared  {document['declared_bits']} bits, {document['bpp_declared']:.4f} bpp")
    if document["grain"]:
        lines.append(f"  grain     {document['grain']:.2f} grey levels")
    lines += [f"  network   {part} {digest}" for part, digest in document["weights"].items()]
    lines += [f"  item {number}    {item['detail']}" for number, item in enumerate(document["description"]["items"], 1)]
    if document["description"]["overall"]:
        lines.append(f"  overall   {document['description']['overall']}")
    for number, rows in enumerate(document["maps"], 1):
        lines.append(f"  map {number}")
        lines += ["            " + "".join("#" if cell else "." for cell in row) for row in rows]
    for line in lines:
        show(line)


def _show_mark(document: dict[str, Any]) -> None:
    show(document["file"])
    mark = dict(document["mark"])
    weights, signature = mark.pop("weights"), mark.pop("signature")
    for name, value in mark.items():
        show(f"  {name.replace('_', ' '):20}{value}")
    show(f"  {'signature':20}{_signature_in_words(signature)}")
    for part, digest in weights.items():
        show(f"  {'network':20}{part} {digest}")


def _signature_in_words(signature: dict[str, str] | None) -> str:
    if signature is None:
        return "none; anybody may have written these words"
    by = f", by {signature['signer']} ({signature['organisation']})" if signature["signer"] else ""
    words = {
        "trusted": "valid",
        "valid": "valid, but no authority that is trusted here vouches for the name",
        "invalid": f"INVALID: {signature['reason']}",
        "unread": f"not read: {signature['reason']}",
    }
    return words[signature["state"]] + by


def _show_table(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        if mark := document.get("mark"):
            show(f"{document['file']}: made by {mark['restorer']} from {mark['stream_sha256']}")
        else:
            size = f"{document['width']}x{document['height']}, {document['bytes']} bytes, {document['bpp']:.4f} bpp"
            show(f"{document['file']}: {size}, {document['mode']}  {document['description']['overall']}")
    streams = [document for document in documents if "mark" not in document]
    if streams:
        pixels = sum(document["width"] * document["height"] for document in streams)
        total = sum(document["bytes"] for document in streams)
        show(f"{len(streams)} files, {total} bytes, {8 * total / pixels:.4f} bpp")
