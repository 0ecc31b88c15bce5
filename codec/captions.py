"""Files of descriptions made elsewhere: the published `name,prompt` table, or JSON. Texts are kept exactly.

A prompt of the table is: three names, separated by commas and ended by the first full stop; three lines of details;
the overall text. Blank lines do not count. Pictures are matched by file name.
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from pydantic import ValidationError

from codec.description import Description, Item, check_description
from codec.errors import CaptionsError, TextError
from codec.limits import MAX_ITEMS
from codec.options import GivenDescription

MAX_CAPTIONS_BYTES = 256 * 1024 * 1024
"""A million descriptions are about this large; a larger file is a mistake."""

_COLUMNS = ("name", "prompt")
_REMEDY = 'Each row is: file name, "name, name, name. / three lines of details / overall text".'


@dataclass(frozen=True)
class Captions:
    """Descriptions by file name. `any_picture` is the one of a JSON file that is a single object without a name."""

    path: str
    by_name: Mapping[str, Description]
    any_picture: Description | None = None

    def lookup(self, source_name: str | None) -> Description:
        """The description of a picture, by its file name, else by its name without the suffix where that is
        unambiguous. Raises CaptionsError when there is none."""
        if self.any_picture is not None:
            return self.any_picture
        name = PurePath((source_name or "").replace("\\", "/")).name
        if name in self.by_name:
            return self.by_name[name]
        stem = PurePath(name).stem
        if stem and (key := self._by_stem.get(stem)) is not None:
            return self.by_name[key]
        raise CaptionsError(
            f"{self.path} has no description for {name or 'a picture without a file name'}; "
            f"add one under that file name. It has {len(self.by_name)}, e.g. {', '.join(list(self.by_name)[:3])}."
        )

    @cached_property
    def _by_stem(self) -> Mapping[str, str | None]:
        """The name that has a stem, None where several have it."""
        found: dict[str, str | None] = {}
        for key in self.by_name:
            stem = PurePath(key).stem
            found[stem] = None if stem in found else key
        return found


def load_captions(path: Path, *, name: str | None = None, max_bytes: int = MAX_CAPTIONS_BYTES) -> Captions:
    """Read a file of descriptions, JSON or CSV by its content.

    Raises CaptionsError that names the file (as `name` where the path says nothing), the row and what to do.
    """
    name = name or str(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise CaptionsError(f"{name} has {size} bytes; a file of descriptions may have {max_bytes}.")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CaptionsError(f"{name} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise CaptionsError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    if not text.strip():
        raise CaptionsError(f"{name} is empty; it needs at least one description.")
    if text.lstrip()[0] in "[{":
        return _from_json(text, name)
    return _from_csv(text, name)


def parse_prompt(prompt: str) -> Description:
    """A description from one prompt of the published table. Raises CaptionsError without file or row."""
    lines = [line.strip() for line in prompt.splitlines() if line.strip()]
    names = [name.strip() for name in lines[0].partition(".")[0].split(",")] if lines else []
    if len(names) != MAX_ITEMS or not all(names):
        raise CaptionsError(f"the first line must hold {MAX_ITEMS} names up to its first full stop, not {len(names)}")
    details, overall = lines[1 : 1 + MAX_ITEMS], lines[1 + MAX_ITEMS :]
    if not overall:
        raise CaptionsError(
            f"after the names there must be {MAX_ITEMS} lines of details and the overall text; "
            f"{len(lines) - 1} lines that are not blank were found"
        )
    items = tuple(Item(name, detail) for name, detail in zip(names, details, strict=True))
    return Description(items, "\n".join(overall))


def _from_csv(text: str, path: str) -> Captions:
    by_name: dict[str, Description] = {}
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    has_header = False
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if not has_header:
                if [cell.strip().lower() for cell in row[:2]] != list(_COLUMNS):
                    raise CaptionsError(f"{path}, line 1: the first row must be name,prompt. {_REMEDY}")
                has_header = True
                continue
            _add_row(by_name, row, path, rows.line_num)
    except csv.Error as error:
        raise CaptionsError(
            f"{path}, line {rows.line_num}: {error}. Put the prompt in double quotes and double any quotes inside."
        ) from None
    if not by_name:
        raise CaptionsError(f"{path} has no rows under its heading. {_REMEDY}")
    return Captions(path, by_name)


def _add_row(by_name: dict[str, Description], row: list[str], path: str, line: int) -> None:
    name = row[0].strip()
    place = f"{path}, row that ends in line {line} ({name or 'no name'})"
    if len(row) < 2 or not name or any(cell.strip() for cell in row[2:]):
        raise CaptionsError(f"{place}: there must be a name and a prompt, in two columns. {_REMEDY}")
    try:
        _add(by_name, name, check_description(parse_prompt(row[1])), place)
    except (CaptionsError, TextError) as error:
        raise CaptionsError(str(error) if str(error).startswith(path) else f"{place}: {error}. {_REMEDY}") from None


def _add(by_name: dict[str, Description], name: str, description: Description, place: str) -> None:
    key = PurePath(name.replace("\\", "/")).name
    if by_name.get(key, description) != description:
        raise CaptionsError(f"{place}: a second, different description for {key}; keep one of them.")
    by_name[key] = description


def _from_json(text: str, path: str) -> Captions:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CaptionsError(f"{path}{where}: this is no valid JSON ({error}).") from None
    by_name: dict[str, Description] = {}
    if isinstance(content, dict):
        name, description = _entry(content, path)
        if name is None:
            return Captions(path, by_name, description)
        _add(by_name, name, description, path)
        return Captions(path, by_name)
    for number, entry in enumerate(content, 1):
        place = f"{path}, entry {number}"
        name, description = _entry(entry, place)
        if name is None:
            raise CaptionsError(f'{place}: in a list every description needs the picture\'s name as "file".')
        _add(by_name, name, description, place)
    if not by_name:
        raise CaptionsError(f"{path} is an empty list; it needs at least one description.")
    return Captions(path, by_name)


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which is valid JSON and could not be told in any answer."""
    return all(not "\ud800" <= char <= "\udfff" for char in text)


def _entry(entry: object, place: str) -> tuple[str | None, Description]:
    if not isinstance(entry, dict):
        raise CaptionsError(f'{place}: a description is an object with "items" and "overall".')
    values = dict(entry)
    name = values.pop("file", None)
    if name is not None and not (isinstance(name, str) and name.strip() and _is_unicode(name)):
        raise CaptionsError(f'{place}: "file" must be the picture\'s file name.')
    try:
        description = GivenDescription.model_validate(values).as_description()
        return name, check_description(description)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"])) or "description"
        raise CaptionsError(f'{place}: {field}: {fault["msg"]}. The form is {{"items", "overall"}}.') from None
    except TextError as error:
        raise CaptionsError(f"{place}: {error}") from None
