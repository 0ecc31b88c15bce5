"""The weights that come with the program, in a folder beside this module: the profile lite. Nothing is added to them
but the notes of digests that were computed, where the folder can be written to.

The folder's `index.json` is written by `training.lite_release`; the files are found without a pull, never copied.
"""

from functools import cache
from pathlib import Path

from codec.weights.index import Record, read_index

FOLDER = Path(__file__).parent / "lite"


@cache
def shipped_records(folder: Path = FOLDER) -> dict[str, Record]:
    """All of them by name, their `file` relative to the folder. Raises WeightsCorrupt for a broken index."""
    return read_index(folder)
