"""Put trained networks into the package: as int8 safetensors under codec/weights/lite, with their index.

    python -m training.lite_release --stage1 runs/stage1
    python -m training.lite_release --restorer runs/restorer

What is not named stays as it is.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from codec.nets.lite.load import ARCHITECTURE, STAGE1_ARCHITECTURE, VOCABULARY
from codec.nets.loading.int8 import to_int8
from codec.options import Profile
from codec.weights.digest import digest_of
from codec.weights.index import VERSION, Record, read_index
from codec.weights.manifest import Licence, Part
from codec.weights.shipped import FOLDER
from training.lite_vocabulary import vocabulary_from
from training.runs import weights_from

_LICENCE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
_TEACHERS_LICENCE = Licence("BSD-3-Clause", "https://github.com/xinntao/Real-ESRGAN/blob/master/LICENSE")
_TEACHERS_ORIGIN = "Real-ESRGAN x4plus, Copyright (c) 2021, Xintao Wang; trained further by this project"


def main() -> None:
    """Write the files and the index."""
    parser = argparse.ArgumentParser(prog="python -m training.lite_release", description=__doc__)
    parser.add_argument("--stage1", type=Path, help="run of stage 1")
    parser.add_argument("--restorer", type=Path, help="run of the diffusion restorer, or its file, to be packed anew")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    records = read_index(arguments.folder)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as made:
        fresh = []
        if arguments.stage1 is not None:
            fresh.append(_stage1(arguments.stage1, Path(made)))
        if arguments.restorer is not None:
            fresh.append(_restorer(arguments.restorer, Path(made)))
        for record in fresh:
            (Path(made) / record.file).replace(arguments.folder / record.file)
            records[record.name] = record
    write_index(arguments.folder, records)
    print(f"{sum(record.bytes for record in records.values()) / 1e6:.1f} MB in {len(records)} files")


def _stage1(run: Path, folder: Path) -> Record:
    """The network alone; the discriminator that the run has beside it stays behind."""
    prefix = "restorer."
    tensors = {name.removeprefix(prefix): value for name, value in _averaged(run).items() if name.startswith(prefix)}
    return _saved(
        folder, "lite-stage1", to_int8(tensors), Part.STAGE1, STAGE1_ARCHITECTURE,
        licence=_TEACHERS_LICENCE, origin=_TEACHERS_ORIGIN,
    )  # fmt: skip


def _restorer(run: Path, folder: Path) -> Record:
    tensors = to_int8(_averaged(run))
    tensors[VOCABULARY] = torch.from_numpy(vocabulary_from(run).known)
    return _saved(folder, "lite-restorer", tensors, Part.RESTORER, ARCHITECTURE)


def write_index(folder: Path, records: Mapping[str, Record]) -> None:
    """Write the index of a folder anew."""
    fields = {
        name: {key: value for key, value in asdict(record).items() if key != "name"} for name, record in records.items()
    }
    index = {"version": VERSION, "weights": fields}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")


def _averaged(run: Path) -> dict[str, Tensor]:
    if run.is_file():
        return weights_from(run)
    kept: Mapping[str, dict[str, Tensor]] = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
    return dict(kept["averaged"])


def _saved(
    folder: Path, name: str, tensors: dict[str, Tensor], part: Part, architecture: str, *,
    licence: Licence = _LICENCE, origin: str = "",
) -> Record:  # fmt: skip
    file = folder / f"{name}.safetensors"
    save_file(tensors, file)
    # The library makes files that only their owner may read.
    file.chmod(0o644)
    return Record(
        name=name, part=part, architecture=architecture, file=file.name, sha256=digest_of(file, is_anew=True),
        bytes=file.stat().st_size, profiles=(Profile.LITE,), licence=licence, origin=origin,
    )  # fmt: skip


if __name__ == "__main__":
    main()
