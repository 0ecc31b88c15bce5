"""Files that version 1 once wrote and that every later program must read to the same content.

Each NAME.misc has a NAME.json with what it holds. Neither ever changes; new ones are added by
`python -m tests.golden.test_golden NAME.misc...`, which refuses to touch an existing description.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from codec.bitstream import ExternalCoarse, PixelCoarse, RefCoarse, Stream, unpack

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.misc"))


def content_of(data: bytes) -> dict[str, Any]:
    """Everything that a stream holds, in a form that JSON keeps."""
    unpacked = unpack(data)
    stream = unpacked.stream
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": stream.width,
        "height": stream.height,
        "profile": stream.profile,
        "coarse_network": stream.coarse_network.hex() if stream.coarse_network else None,
        "restorer_network": stream.restorer_network.hex() if stream.restorer_network else None,
        "bits": vars(unpacked.bits),
        "details": list(stream.texts.details),
        "overall": stream.texts.overall,
        "maps": _rows_of_maps(stream),
        "coarse": _coarse_of(stream),
    }


def _rows_of_maps(stream: Stream) -> list[list[str]] | None:
    if stream.maps is None:
        return None
    edge = stream.maps.edge
    return [
        ["".join(map(str, mask[start : start + edge])) for start in range(0, edge * edge, edge)]
        for mask in stream.maps.masks
    ]


def _coarse_of(stream: Stream) -> dict[str, Any]:
    coarse = stream.coarse
    if isinstance(coarse, PixelCoarse):
        return {
            "kind": "pixel",
            "columns": coarse.columns,
            "rows": coarse.rows,
            "level": coarse.level,
            "first_samples": list(coarse.samples[:12]),
            "samples_sha256": hashlib.sha256(coarse.samples).hexdigest(),
        }
    if isinstance(coarse, ExternalCoarse):
        return {"kind": "external", "digest": coarse.digest.hex(), "declared_bits": coarse.declared_bits}
    assert isinstance(coarse, RefCoarse)
    # The rebuilt file's bytes are the wrapper's business; that it opens is tested beside the wrappers.
    return {"kind": "ref", "codec": coarse.codec, "scale": coarse.scale}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_file_holds_what_it_always_held(path: Path) -> None:
    assert content_of(path.read_bytes()) == json.loads(path.with_suffix(".json").read_text())


def test_no_golden_file_is_missing() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {path.stem for path in FILES}
    assert len(FILES) >= 9


def _add(paths: list[Path]) -> None:
    for path in paths:
        description = path.with_suffix(".json")
        if description.exists():
            raise SystemExit(f"{description} exists: golden files never change")
        description.write_text(json.dumps(content_of(path.read_bytes()), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    _add([Path(argument) for argument in sys.argv[1:]])
