"""Files of descriptions made elsewhere: the published `name,prompt` table, or JSON. Texts are kept exactly.

A prompt of the table is: three names, separated by commas and ended by the first full stop; three lines of details;
the overall text. Blank lines do not count. Pictures are matched by the end of their path.
"""

import codecs
import csv
import io
import json
import unicodedata
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

_NAMES = ("file", "file_name", "filename", "image", "path", "file_path", "filepath", "image_path", "relative_path")
_NAME_COLUMNS = ("name", *_NAMES)
_TEXT_COLUMNS = ("prompt", "overall", "caption", "description", "text", "alt_text")
"""Headings, best first, in any case. All but "prompt" hold the overall text alone."""

_DELIMITERS = (",", ";", "\t", "|")
_REMEDY = 'Each row is: file name, "name, name, name. / three lines of details / overall text".'


@dataclass(frozen=True)
class Captions:
    """Descriptions by file name, or by a path's last parts. `any_picture` is the one of a JSON file that is a single
    object without a name."""

    path: str
    by_name: Mapping[str, Description]
    any_picture: Description | None = None

    def lookup(self, source_name: str | None) -> Description:
        """The description of a picture, by the row whose path is the longest end of its own; else by its name without
        case, and by its name without the suffix, where that is unambiguous. Composed and decomposed letters are alike.
        Raises CaptionsError when there is none."""
        if self.any_picture is not None:
            return self.any_picture
        parts = _key(source_name or "").split("/")
        for start in range(len(parts)):
            if (description := self.by_name.get("/".join(parts[start:]))) is not None:
                return description
        name = parts[-1]
        for alias in (name, name.casefold(), f"{PurePath(name).stem}."):
            if name and (key := self._by_alias.get(alias)) is not None:
                return self.by_name[key]
        if name in self._by_alias and (key := self._nearest(parts)) is not None:
            return self.by_name[key]
        remedy = "name its folder too" if name in self._by_alias else "add one under that file name"
        examples = ", ".join(list(self.by_name)[:3])
        raise CaptionsError(
            f"{self.path} has no description for {name or 'a picture without a file name'}; {remedy}. "
            f"It has {len(self.by_name)}, e.g. {examples}."
        )

    def _nearest(self, parts: list[str]) -> str | None:
        """Of several rows of one name the one whose path ends most like this one; None where two are as near."""
        shared: dict[int, list[str]] = {}
        for key in self.by_name:
            folders = key.split("/")
            if folders[-1] == parts[-1]:
                pairs = zip(reversed(folders), reversed(parts), strict=False)
                shared.setdefault(
                    next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(folders), len(parts))), []
                ).append(key)
        nearest = shared[max(shared)] if shared else []
        return nearest[0] if len(nearest) == 1 and max(shared) > 1 else None

    def only(self, source_name: str | None) -> "Captions":
        """The captions of one picture, which are all that has to travel with it. Raises CaptionsError."""
        return Captions(self.path, {}, self.lookup(source_name))

    @cached_property
    def _by_alias(self) -> Mapping[str, str | None]:
        """The row of a bare name, of one in lower case, and of one up to its last full stop; None where several are
        meant."""
        rows: dict[str, str | None] = {}
        for key in self.by_name:
            name = key.rpartition("/")[2]
            for alias in {name, name.casefold(), f"{PurePath(name).stem}."}:
                rows[alias] = None if alias in rows else key
        return rows


def _key(name: str) -> str:
    """A path in one form: slashes, letters composed (NFC), no dots in front."""
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def load_captions(path: Path, *, name: str | None = None, max_bytes: int = MAX_CAPTIONS_BYTES) -> Captions:
    """Read a file of descriptions by its content: JSON, JSON lines, or a table with a heading whose columns are parted
    by commas, semicolons, tabs or bars. UTF-8, or UTF-16 as spreadsheets save it.

    Raises CaptionsError that names the file (as `name` where the path says nothing), the row and what to do.
    """
    name = name or str(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise CaptionsError(f"{name} has {size} bytes; a file of descriptions may have {max_bytes}.")
        text = _decoded(path.read_bytes())
    except OSError as error:
        raise CaptionsError(f"{name} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise CaptionsError(f"{name} is no UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    if not text.strip():
        raise CaptionsError(f"{name} is empty; it needs at least one description.")
    if text.lstrip()[0] in "[{":
        return _from_json(text, name)
    return _from_csv(text, name)


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return data.decode("utf-32")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    if data[1:2] == b"\0" or data[:1] == b"\0":  # UTF-16 without its mark: every heading is ASCII
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be")
    return data.decode("utf-8-sig")


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


@dataclass(frozen=True)
class _Heading:
    """Where name and text are in a row of `width` columns, and whether the text is a prompt in the published form."""

    name: int
    text: int
    width: int
    is_prompt: bool

    @classmethod
    def of(cls, row: list[str]) -> "_Heading | None":
        """None for a row that is no heading."""
        words = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in row]
        names = [words.index(word) for word in _NAME_COLUMNS if word in words]
        texts = [word for word in _TEXT_COLUMNS if word in words]
        if not names or not texts:
            return None
        width = max(index for index, word in enumerate(words) if word) + 1
        return cls(names[0], words.index(texts[0]), width, texts[0] == "prompt")


def _from_csv(text: str, path: str) -> Captions:
    first, _, rest = text.partition("\n")
    delimiter = None
    if first.lower().startswith("sep=") and len(first.rstrip("\r\n")) == 5:
        delimiter, text = first[4], rest
    heading_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = delimiter or next(
        (each for each in _DELIMITERS if _Heading.of(heading_line.replace('"', "").split(each)) is not None), ","
    )
    by_name: dict[str, Description] = {}
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    heading: _Heading | None = None
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if heading is None:
                heading = _Heading.of(row)
                if heading is None:
                    raise CaptionsError(f"{path}, line 1: the first row must be name,prompt. {_REMEDY}")
                continue
            _add_row(by_name, row, heading, path, rows.line_num)
    except csv.Error as error:
        raise CaptionsError(
            f"{path}, line {rows.line_num}: {error}. Put the prompt in double quotes and double any quotes inside."
        ) from None
    if not by_name:
        raise CaptionsError(f"{path} has no rows under its heading. {_REMEDY}")
    return Captions(path, by_name)


def _add_row(by_name: dict[str, Description], row: list[str], heading: _Heading, path: str, line: int) -> None:
    name = row[heading.name].strip() if len(row) > heading.name else ""
    place = f"{path}, row that ends in line {line} ({name or 'no name'})"
    if len(row) <= heading.text or not name or any(cell.strip() for cell in row[heading.width :]):
        raise CaptionsError(f"{place}: there must be a name and a prompt, in two columns. {_REMEDY}")
    text = row[heading.text]
    try:
        description = parse_prompt(text) if heading.is_prompt else Description((), text.strip())
        _add(by_name, name, check_description(description), place)
    except (CaptionsError, TextError) as error:
        raise CaptionsError(str(error) if str(error).startswith(path) else f"{place}: {error}. {_REMEDY}") from None


def _add(by_name: dict[str, Description], name: str, description: Description, place: str) -> None:
    key = _key(name)
    if by_name.get(key, description) != description:
        raise CaptionsError(f"{place}: a second, different description for {key}; keep one of them.")
    by_name[key] = description


def _from_json(text: str, path: str) -> Captions:
    try:
        content = _json_lines(text) or json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CaptionsError(f"{path}{where}: this is no valid JSON ({error}).") from None
    by_name: dict[str, Description] = {}
    content = _collected(content)
    if isinstance(content, dict):
        name, description = _entry(content, path)
        if name is None:
            return Captions(path, by_name, description)
        _add(by_name, name, description, path)
        return Captions(path, by_name)
    for number, entry in enumerate(content if isinstance(content, list) else [content], 1):
        place = f"{path}, entry {number}"
        name, description = _entry(entry, place)
        if name is None:
            raise CaptionsError(f'{place}: in a list every description needs the picture\'s name as "file".')
        _add(by_name, name, description, place)
    if not by_name:
        raise CaptionsError(f"{path} is an empty list; it needs at least one description.")
    return Captions(path, by_name)


def _json_lines(text: str) -> list[object] | None:
    """The objects of a text that has one a line; None for any other text."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines):
        return None
    return [json.loads(line) for line in lines]


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which is valid JSON and could not be told in any answer."""
    return all(not "\ud800" <= char <= "\udfff" for char in text)


_TEXT_KEYS = ("text", "caption", "description", "alt_text")
"""What collections of pictures call them, where there is no "overall"."""


def _collected(content: object) -> object:
    """A list of entries, of an object that has them by file name or as COCO has captions; anything else as it is."""
    if not isinstance(content, dict) or not content or "overall" in content or "items" in content:
        return content
    images, annotations = content.get("images"), content.get("annotations")
    if isinstance(images, list) and isinstance(annotations, list):
        names = {each.get("id"): each.get("file_name") for each in images if isinstance(each, dict)}
        # Of several captions of one picture the first.
        texts: dict[object, object] = {}
        for each in annotations:
            if isinstance(each, dict) and each.get("image_id") in names:
                texts.setdefault(each["image_id"], each.get("caption"))
        return [{"file": names[number], "overall": text} for number, text in texts.items()]
    if all(isinstance(value, dict | str) and PurePath(name).suffix for name, value in content.items()):
        return [
            {"file": name, **(value if isinstance(value, dict) else {"overall": value})}
            for name, value in content.items()
        ]
    return content


def _entry(entry: object, place: str) -> tuple[str | None, Description]:
    if not isinstance(entry, dict):
        raise CaptionsError(f'{place}: a description is an object with "items" and "overall".')
    values = dict(entry)
    name = next((values.pop(key) for key in _NAMES if key in values), None)
    if "overall" not in values and "items" not in values:
        text = next((values[key] for key in _TEXT_KEYS if key in values), None)
        # A collection says more of its pictures than what is in them.
        values = values if text is None else {"overall": text}
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
