"""What the local describer says of every training picture, kept in one JSON file beside the run.

python -m training.lite_descriptions --pictures DIR --out runs/descriptions.json
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codec.encode.describe.local import describe_locally
from codec.encode.locate.masks import masks_from_maps
from codec.picture.open import open_picture
from training.pictures import SUFFIXES

_MAP_EDGE = 8


@dataclass(frozen=True)
class Described:
    """A picture's texts, and one (8, 8) map of 0 and 1 for each of its details."""

    details: tuple[str, ...]
    overall: str
    maps: tuple[npt.NDArray[np.uint8], ...]


def main() -> None:
    """Describe all pictures of a folder."""
    parser = argparse.ArgumentParser(prog="python -m training.lite_descriptions", description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=None)
    arguments = parser.parse_args()
    files = sorted(file for file in arguments.pictures.iterdir() if file.suffix.lower() in SUFFIXES)
    with ProcessPoolExecutor(arguments.processes) as pool:
        described = dict(zip((file.name for file in files), pool.map(_describe, files, chunksize=8), strict=True))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(described, indent=0))


def read_descriptions(file: Path) -> dict[str, Described]:
    """By file name."""
    return {
        name: Described(
            tuple(fields["details"]), fields["overall"], tuple(np.array(each, np.uint8) for each in fields["maps"])
        )
        for name, fields in json.loads(file.read_text()).items()
    }


def _describe(file: Path) -> dict[str, object]:
    found = describe_locally(open_picture(file.read_bytes()))
    masks = masks_from_maps(found.maps, _MAP_EDGE)
    rows = [np.frombuffer(mask, np.uint8).reshape(_MAP_EDGE, _MAP_EDGE).tolist() for mask in masks.masks]
    return {
        "details": [item.detail for item in found.description.items],
        "overall": found.description.overall,
        "maps": rows,
    }


if __name__ == "__main__":
    main()
