"""Put trained networks into the package: as float16 safetensors under codec/weights/lite, with their index.

    python -m training.lite_release --coarse runs/coarse-1 runs/coarse-2 runs/coarse-3 --restorer runs/restorer

The coarse networks come in the order of their rates. A coarse network that was released is never replaced: streams
name it by digest. Until the first release of the program they may be.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from codec.nets.compression.checkpoint_layouts import plain_state
from codec.nets.lite.load import ARCHITECTURE, VOCABULARY
from codec.options import Profile
from codec.weights.digest import digest_of
from codec.weights.index import VERSION, Record
from codec.weights.manifest import Licence, Part
from codec.weights.shipped import FOLDER
from training.lite_coarse_pictures import SCALE

_LICENCE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
_COARSE = "mbt2018"


def main() -> None:
    """Write the files and the index."""
    parser = argparse.ArgumentParser(prog="python -m training.lite_release", description=__doc__)
    parser.add_argument("--coarse", type=Path, nargs=3, required=True, help="runs of the coarse codecs, rates 1 to 3")
    parser.add_argument("--restorer", type=Path, help="run of the restorer")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    records = []
    for rate, run in enumerate(arguments.coarse, start=1):
        tensors = _halved(plain_state(_averaged(run)))
        records.append(
            _kept(arguments.folder, f"lite-coarse-{rate}", tensors, Part.COARSE, _COARSE, rate=rate, scale=SCALE)
        )
    if arguments.restorer is not None:
        tensors = _halved(_averaged(arguments.restorer))
        tensors[VOCABULARY] = torch.from_numpy(np.load(arguments.restorer / "vocabulary.npy"))
        records.append(_kept(arguments.folder, "lite-restorer", tensors, Part.RESTORER, ARCHITECTURE))
    fields = {record.name: {key: value for key, value in asdict(record).items() if key != "name"} for record in records}
    index = {"version": VERSION, "weights": fields}
    (arguments.folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    print(f"{sum(record.bytes for record in records) / 1e6:.1f} MB in {len(records)} files")


def _averaged(run: Path) -> dict[str, Tensor]:
    kept: Mapping[str, dict[str, Tensor]] = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
    return {key: value for key, value in kept["averaged"].items() if not key.endswith("position_ids")}


def _halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """float16, half the size, of which the last digit is far below what the weights are sure of."""
    return {key: value.half().contiguous() for key, value in tensors.items()}


def _kept(
    folder: Path, name: str, tensors: dict[str, Tensor], part: Part, architecture: str, *,
    rate: int | None = None, scale: int | None = None,
) -> Record:  # fmt: skip
    file = folder / f"{name}.safetensors"
    save_file(tensors, file)
    # The library makes files that only their owner may read.
    file.chmod(0o644)
    return Record(
        name=name, part=part, architecture=architecture, file=file.name, sha256=digest_of(file, is_anew=True),
        bytes=file.stat().st_size, profiles=(Profile.LITE,), rate=rate, scale=scale, licence=_LICENCE,
    )  # fmt: skip


if __name__ == "__main__":
    main()
