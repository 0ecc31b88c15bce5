"""Files of descriptions: the published table and JSON, with everything that spreadsheets do to them."""

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from codec.captions import Captions, load_captions, parse_prompt
from codec.description import Description, Item
from codec.errors import CaptionsError

PROMPT = "Red barn, old tractor, sky.\nA weathered barn\nA rusty tractor\nClouds at dusk\nA farm at dusk, calm."
EXPECTED = Description(
    (Item("Red barn", "A weathered barn"), Item("old tractor", "A rusty tractor"), Item("sky", "Clouds at dusk")),
    "A farm at dusk, calm.",
)


def written(tmp_path: Path, text: str | bytes, name: str = "captions.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("tail", ["", ",\n", "\n\n,,\n"])
def test_published_table_loads(tmp_path: Path, newline: str, bom: str, tail: str) -> None:
    text = f'{bom}name,prompt\nbarn.png,"{PROMPT}"\n\nother.png,"{PROMPT}"\n{tail}'.replace("\n", newline)
    captions = load_captions(written(tmp_path, text))
    assert captions.lookup("barn.png") == EXPECTED
    assert captions.lookup("/somewhere/else/other.png") == EXPECTED
    assert len(captions.by_name) == 2


def test_blank_lines_inside_a_prompt_do_not_count() -> None:
    spaced = PROMPT.replace("\n", "\n\n  \n") + "\n\n"
    assert parse_prompt(spaced) == EXPECTED


def test_texts_are_kept_exactly_even_beyond_the_limits_for_models() -> None:
    long_detail = " ".join(["very"] * 30) + " “long” — naïve"
    parsed = parse_prompt(f"a b c d e, b, c.\n{long_detail}\nx\ny\nfirst line\nsecond line")
    assert parsed.items[0] == Item("a b c d e", long_detail)
    assert parsed.overall == "first line\nsecond line"


def test_picture_is_found_by_stem_where_that_is_unambiguous(tmp_path: Path) -> None:
    text = f'name,prompt\nbarn.png,"{PROMPT}"\nx.png,"{PROMPT}"\nx.jpg,"{PROMPT}"\n'
    captions = load_captions(written(tmp_path, text))
    assert captions.lookup("barn.jpg") == EXPECTED
    with pytest.raises(CaptionsError, match=r"no description for x\.tif"):
        captions.lookup("x.tif")


def test_pictures_are_looked_up_without_going_through_all_rows_each_time() -> None:
    class Counting(dict[str, Description]):
        times = 0

        def __iter__(self) -> Iterator[str]:
            self.times += 1
            return super().__iter__()

    rows = Counting({f"{number}.jpg": EXPECTED for number in range(50)})
    captions = Captions("captions.csv", rows)
    assert all(captions.lookup(f"{number}.png") == EXPECTED for number in range(50))
    assert rows.times == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"items": [], "overall": ' + "9" * 5000 + "}", "no valid JSON"),
        ('[{"file": "\\ud800.png", "items": [], "overall": "a"}]', "file name"),
        ("", "empty"),
        ("file,words\na.png,b\n", "line 1.*name,prompt"),
        ("name,prompt\n", "no rows"),
        ('name,prompt\na.png,"one, two.\nd\nd\nd\nall"\n', r"line 6 \(a\.png\).*3 names"),
        ('name,prompt\na.png,"one, two, three.\nd\nd\n"\n', r"a\.png.*three|a\.png.*3 lines of details"),
        ('name,prompt\n,"one, two, three.\nd\nd\nd\nall"\n', "no name"),
        ('name,prompt\na.png,"one, two, three.\nd', "line 3.*double quotes"),
        ("name,prompt\na.png,one,two,three.\n", "two columns"),
    ],
)
def test_faults_name_file_row_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CaptionsError, match=message) as caught:
        load_captions(written(tmp_path, text))
    assert "captions.csv" in str(caught.value)


def test_contradicting_rows_are_refused(tmp_path: Path) -> None:
    other = PROMPT.replace("calm", "stormy")
    with pytest.raises(CaptionsError, match="second, different"):
        load_captions(written(tmp_path, f'name,prompt\nb.png,"{PROMPT}"\nb.png,"{other}"\n'))


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CaptionsError, match="cannot be read"):
        load_captions(tmp_path / "none.csv")
    with pytest.raises(CaptionsError, match="UTF-8"):
        load_captions(written(tmp_path, b"\xff\xfe\x00name"))


AS_JSON = {
    "items": [{"name": item.name, "detail": item.detail} for item in EXPECTED.items],
    "overall": EXPECTED.overall,
}


def test_json_object_describes_any_picture(tmp_path: Path) -> None:
    captions = load_captions(written(tmp_path, json.dumps(AS_JSON), "d.json"))
    assert captions.lookup("whatever.png") == EXPECTED
    assert captions.lookup(None) == EXPECTED


def test_json_list_is_matched_by_file(tmp_path: Path) -> None:
    entries = [{"file": "pictures/barn.png", **AS_JSON}, {"file": "b.png", "overall": "Only this."}]
    captions = load_captions(written(tmp_path, "\ufeff" + json.dumps(entries), "d.json"))
    assert captions.lookup("barn.png") == EXPECTED
    assert captions.lookup("b.png") == Description((), "Only this.")
    with pytest.raises(CaptionsError, match=r"no description for c\.png"):
        captions.lookup("c.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"overall": ', "no valid JSON"),
        ("[]", "empty list"),
        ('[{"overall": "x"}]', 'entry 1.*"file"'),
        ('[{"file": "a.png", "words": "x"}]', "entry 1: words"),
        ('[{"file": 3, "overall": "x"}]', "file name"),
        ("[3]", "entry 1.*object"),
        ('{"items": [{"detail": "x"}, {}, {}, {}], "overall": "x"}', "items"),
        ('{"overall": "\\ud800"}', "."),
        ("[" * 100_000, "JSON"),
    ],
)
def test_json_faults_are_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CaptionsError, match=message) as caught:
        load_captions(written(tmp_path, content, "d.json"))
    assert "d.json" in str(caught.value)


CASES = Path(__file__).parents[1] / "cases"


@pytest.mark.parametrize("case", ["cap_nfc.csv", "cap_nfd.csv"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_composed_and_decomposed_names_are_the_same_name(case: str, form: str) -> None:
    name = unicodedata.normalize(form, "café.jpg")
    assert load_captions(CASES / case).lookup(name) == EXPECTED


@pytest.mark.parametrize("case", ["cap_semicolon.csv", "cap_sep.csv", "cap_utf16.csv", "cap_columns.csv"])
def test_tables_as_spreadsheets_save_them_are_read(case: str) -> None:
    captions = load_captions(CASES / case)
    assert captions.lookup("BARN.JPG") == EXPECTED
    assert captions.lookup("barn.jpg") == EXPECTED, "names differ in case between systems"


def test_json_lines_are_read_in_either_words() -> None:
    captions = load_captions(CASES / "cap_lines.jsonl")
    assert captions.lookup("barn.jpg") == EXPECTED
    assert captions.lookup("sky.jpg") == Description((), "Only the sky.")


def test_pictures_of_the_same_name_are_parted_by_their_folders() -> None:
    captions = load_captions(CASES / "cap_paths.csv")
    for place in ("/data/in", "in", "."):
        assert captions.lookup(f"{place}/one/a.jpg") == Description((), "First.")
        assert captions.lookup(f"{place}/two/a.jpg") == Description((), "Second.")
    with pytest.raises(CaptionsError, match="name its folder too"):
        captions.lookup("a.jpg")


def test_one_picture_takes_its_own_description_along_and_no_other() -> None:
    only = load_captions(CASES / "cap_paths.csv").only("one/a.jpg")
    assert only.lookup("anything") == Description((), "First.") and not only.by_name


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        ("name,prompt\nbarn.jpg,x\n".replace("prompt", "caption").encode("utf-32"), ".csv"),
        (b"sep=\t\nname\tcaption\nbarn.jpg\tx\n", ".csv"),
        (b"File Name , Alt-Text\nbarn.jpg,x\n", ".csv"),
        (b"filepath|caption\npics/barn.jpg|x\n", ".csv"),
        (b'{"path": "pics/barn.jpg", "text": "x", "url": "http://h/7"}\n{"path": "b.jpg", "text": "y"}\n', ".jsonl"),
        (b'{"barn.jpg": "x", "b.jpg": "y"}', ".json"),
        (b'{"barn.jpg": {"items": [], "overall": "x"}}', ".json"),
        (
            b'{"images": [{"id": 7, "file_name": "barn.jpg"}], '
            b'"annotations": [{"image_id": 7, "caption": "x"}, {"image_id": 7, "caption": "y"}]}',
            ".json",
        ),
    ],
)
def test_forms_of_other_programs_are_read(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"captions{suffix}"
    path.write_bytes(content)
    assert load_captions(path).lookup("pics/barn.jpg").overall == "x"


def test_paths_of_another_machine_are_told_apart_by_their_ends(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("path,caption\nD:\\data\\one\\a.jpg,First.\n/data/two/a.jpg,Second.\n")
    captions = load_captions(path)
    assert captions.lookup("in/one/a.jpg").overall == "First."
    assert captions.lookup("in/two/a.jpg").overall == "Second."
    with pytest.raises(CaptionsError, match="folder"):
        captions.lookup("in/three/a.jpg")


def test_slip_in_the_name_of_a_field_is_told_and_loses_no_item(tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text('[{"file": "a.jpg", "itmes": [], "overall": "x"}]')
    with pytest.raises(CaptionsError, match="itmes"):
        load_captions(path)
