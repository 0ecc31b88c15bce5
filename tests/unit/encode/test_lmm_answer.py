"""What becomes of a model's words: cleaned, trimmed, or refused."""

import json
import time
import unicodedata

import pytest

from codec.description import Item
from codec.encode.describe.lmm.answer import MAX_OVERALL_WORDS, is_english, read_description
from codec.encode.describe.lmm.prompt import PROMPT
from codec.errors import DescriptionRefused, DescriptionUnusable

OVERALL = "A quiet harbour at dawn with three boats in still water."


def answer(**changes: object) -> str:
    items = [{"name": "blue boat", "detail": "small wooden boat moored at the left"}]
    return json.dumps({"items": items, "overall": OVERALL} | changes)


def items(*pairs: tuple[object, object]) -> list[dict[str, object]]:
    return [{"name": name, "detail": detail} for name, detail in pairs]


def test_good_answer_is_kept_word_for_word() -> None:
    description = read_description(answer())
    assert description.overall == OVERALL
    assert description.items == (Item("blue boat", "small wooden boat moored at the left"),)


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{answer()}\n```",
        f"```\n{answer()}```",
        f"Sure! Here it is: {answer()} I hope this helps.",
        f"<think>Perhaps {{this}}?</think>{answer()}",
        f"\ufeff \n{answer()}\n",
    ],
)
def test_wrappings_are_taken_off(text: str) -> None:
    assert read_description(text).overall == OVERALL


def test_control_characters_markup_and_blanks_are_cleaned_away() -> None:
    dirty = "  **A quiet**\n\tharbour\u0000 at\u202e dawn\u200b, with\ud800 three   boats. "
    description = read_description(answer(overall=dirty, items=items(("1. Blue boat.", '"- a small\r\nboat;"'))))
    assert description.overall == "A quiet harbour at dawn , with three boats."
    assert description.items == (Item("Blue boat", "a small boat"),)


def test_names_details_and_overall_are_cut_at_words() -> None:
    long = items(("old blue fishing boat", "one two three four five six seven eight nine ten, eleven"))
    description = read_description(answer(items=long, overall=" ".join(f"word{number}" for number in range(100))))
    assert description.items == (Item("old blue fishing", "one two three four five six seven eight nine ten"),)
    assert len(description.overall.split()) == MAX_OVERALL_WORDS


def test_overall_is_cut_after_a_sentence_where_that_keeps_half_of_it() -> None:
    first = " ".join(f"word{number}" for number in range(50)) + "."
    second = " ".join(f"more{number}" for number in range(50)) + "."
    assert read_description(answer(overall=f"{first} {second}")).overall == first


def test_word_without_end_is_cut_by_characters() -> None:
    description = read_description(answer(items=items(("n" * 500, "d" * 500)), overall="abcdefghij" * 1000))
    assert [len(description.items[0].name), len(description.items[0].detail)] == [60, 120]
    assert len(description.overall) == 700


def test_text_that_grows_when_composed_is_bounded() -> None:
    grows = unicodedata.normalize("NFC", "\U0001d15e")
    assert len(grows) == 2
    assert len(read_description(answer(overall=OVERALL + "\U0001d15e" * 4_000)).overall) <= 700


def test_items_that_are_empty_doubled_or_too_many_are_left_out() -> None:
    many = items(("a", "  "), ("", "b"), ("cat", "black cat"), ("kitty", "Black cat"), ("dog", "brown dog"))
    many += items(("cow", "white cow"), ("hen", "red hen"))
    found = read_description(answer(items=many)).items
    assert [item.name for item in found] == ["cat", "dog", "cow"]


@pytest.mark.parametrize("missing", [{"items": None}, {"items": []}])
def test_good_overall_text_alone_is_enough(missing: dict[str, object]) -> None:
    assert read_description(answer(**missing)).items == ()
    assert read_description(json.dumps({"overall": OVERALL})).items == ()


@pytest.mark.parametrize(
    "overall", ["一只黑猫坐在窗边的木桌上。", "Чёрная кошка сидит на столе у окна.", "قطة سوداء تجلس على الطاولة"]
)
def test_other_languages_are_taken(overall: str) -> None:
    assert read_description(answer(overall=overall)).overall == overall


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"A quiet harbour"',
        "no JSON at all",
        '{"items": [',
        "{" * 50_000,
        "[" * 50_000,
        answer(overall=None),
        answer(overall=""),
        answer(overall=" \n\u200b "),
        answer(overall="..."),
        answer(overall="A red car."),
        answer(overall="1234567890 " * 6),
        answer(overall="the boat " * 30),
        answer(overall=["a", "b"]),
        answer(overall={"text": OVERALL, "more": OVERALL}),
        json.dumps({"overall": "9" * 10, "n": 1})[:-1] + ', "m": ' + "9" * 10_000 + "}",
        OVERALL + "x" * 70_000,
    ],
    ids=lambda text: text[:40],
)
def test_nonsense_is_unusable(text: str) -> None:
    with pytest.raises(DescriptionUnusable):
        read_description(text)


@pytest.mark.parametrize(
    "words",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m unable to describe people.",
        "Sorry, no.",
        "I cannot do this.",
    ],
)
def test_refusal_in_words_is_a_refusal(words: str) -> None:
    for text in (words, answer(overall=words)):
        with pytest.raises(DescriptionRefused):
            read_description(text)


@pytest.mark.parametrize(
    "bad",
    ["none", ["boat"], items((3, "detail")), items(("name", None)), [None, 3, []], {"first": 1}],
    ids=str,
)
def test_bad_item_never_discards_a_good_overall_text(bad: object) -> None:
    assert read_description(answer(items=bad)).overall == OVERALL
    mixed = [*items(("blue boat", "small and wooden")), *(bad if isinstance(bad, list) else [bad])]
    assert read_description(answer(items=mixed)).items == (Item("blue boat", "small and wooden"),)


@pytest.mark.parametrize(
    "text",
    [
        f"In {{short}}, as you asked: {answer()} {{I hope}} that it helps.",
        answer().replace("A quiet", "A\nquiet"),
        answer()[:-1] + ",}",
        answer().replace("}]", "},]"),
        json.dumps({"description": json.loads(answer())}),
        json.dumps({"result": {"data": json.loads(answer())}}),
        json.dumps([json.loads(answer())]),
        json.dumps(answer()),
        json.dumps({"answer": answer()}),
        answer().replace('"overall"', '"Overall"').replace('"items"', '"Items"'),
        f"```json\n{answer()[:-1]},\n}}\n```",
        f"boat, water, sky.\nsmall wooden boat\ncalm grey water\npale sky at dawn\n{OVERALL}",
    ],
    ids=[
        "prose",
        "newline",
        "comma",
        "commas",
        "wrapper",
        "wrappers",
        "list",
        "string",
        "inner",
        "case",
        "fence",
        "csv",
    ],
)
def test_json_that_is_there_is_read_however_it_is_wrapped(text: str) -> None:
    found = read_description(text)
    assert found.overall == OVERALL


@pytest.mark.parametrize(
    "text",
    [
        repr(json.loads(answer())),
        repr(json.loads(answer()) | {"note": None}),
        answer().replace('"overall"', '// all of it\n"overall"'),
        answer().replace('"', "“", 1).replace('"', "”", 1),
        answer().replace('"', "&quot;"),
        json.dumps(answer())[1:-1],
        answer()[:-1],
        answer().replace("quiet", r"qu\iet"),
        answer(overall=[OVERALL[:28], OVERALL[29:]]),
        answer(overall={"text": OVERALL}),
        answer().replace('"overall"', '"overall_text"'),
        answer().replace('"overall"', '"description"'),
        answer().replace('"detail"', '"details"'),
        answer(items=["blue boat: small wooden boat moored at the left"]),
        f"<|channel|>analysis<|message|>Needs {{items: 3}}.<|end|><|channel|>final<|message|>{answer()}",
    ],
)
def test_what_is_almost_json_is_read_with_its_items(text: str) -> None:
    found = read_description(text)
    assert found.overall == OVERALL
    assert found.items == (Item("blue boat", "small wooden boat moored at the left"),)


def test_quotes_in_a_text_that_nobody_escaped_stay_in_it() -> None:
    assert read_description(answer().replace("three boats", 'the "three boats"')).overall == OVERALL.replace(
        "three boats", 'the "three boats"'
    )


@pytest.mark.parametrize(
    "text", ['"overall": "' * 5400, '{"a":' * 12_000, "{'" + "[" * 60_000, "no image input " * 4000]
)
def test_hostile_answers_take_no_long_time(text: str) -> None:
    began = time.process_time()
    with pytest.raises(DescriptionUnusable):
        read_description(text)
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "words",
    [
        "I don't see any image in your message. Could you upload it again?",
        "I'm sorry, but I cannot see the image you mention.",
        "No image was provided, so there is nothing that I could describe here.",
        "Please provide the image that you would like me to describe in detail.",
        "It looks like the picture did not load; I am unable to view any attachments.",
        "There is no image attached to this conversation.",
        "The image is not visible to me, please try to send it once more.",
        "It looks like the image didn't come through, can you try again?",
        "There doesn't appear to be an image attached to this message.",
        "You haven't provided an image, so I can only give a generic description.",
        "I haven't received any image, so this is a placeholder for one.",
        "N/A - no visual input was available to the model for this task.",
        "I only received text; the picture seems to be missing from the request.",
        "I'm a text-only model and have no access to image content in this chat.",
        "The user did not attach any image, so that none can be described.",
        "A placeholder was received but no image data could be decoded from it.",
        "Kein Bild vorhanden, bitte laden Sie eines hoch, damit ich es beschreiben kann.",
        "No veo ninguna imagen en el mensaje, por favor vuelva a enviarla.",
        "没有看到图片，请重新上传图片以便描述其中的内容。",
    ],
)
def test_answer_that_sees_no_picture_is_no_description(words: str) -> None:
    for text in (words, answer(overall=words)):
        with pytest.raises(DescriptionUnusable, match="sees no picture"):
            read_description(text)


@pytest.mark.parametrize(
    "words",
    [
        "A poster on a wall with a large photograph of a ship, and no image beneath it.",
        "A hand holds a photo in front of a wall of pictures.",
        "A phone screen that says no images, on a wooden table beside a cup.",
        "A phone shows the message that no image was found, in a hand over a table.",
        "A man holds a camera; he cannot see the picture he takes while the sun blinds him.",
        "A frame without an image hangs over a white sofa in a bright room.",
        "A sign that asks visitors to share their photos stands beside a lake.",
        "Parents who have not seen the picture yet wait before a closed door.",
    ],
)
def test_picture_of_pictures_is_described(words: str) -> None:
    assert read_description(answer(overall=words)).overall == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OVERALL, True),
        ("Red barn, snowy field, low winter sun, long shadows", True),
        ("A café named El Toro on the corner of a street in La Paz, with two people at a table.", True),
        ("Ein ruhiger Hafen in der Morgendämmerung mit drei Booten auf dem stillen Wasser.", False),
        ("Un port tranquille à l'aube avec trois bateaux dans une eau calme.", False),
        ("Un puerto tranquilo al amanecer con tres barcos en el agua quieta.", False),
        ("Um porto tranquilo ao amanhecer com três barcos na água parada.", False),
        ("Un porto tranquillo all'alba con tre barche sull'acqua della baia.", False),
        ("Een rustige haven bij zonsopgang met drie boten op het stille water.", False),
        ("一只黑猫坐在窗边的木桌上。", False),
        ("Чёрная кошка сидит на столе у окна.", False),
        ("قطة سوداء تجلس على الطاولة", False),
    ],
)
def test_english_is_told_from_other_languages(text: str, expected: bool) -> None:
    assert is_english(text) is expected


def test_question_asks_for_relations_and_leaves_room_for_eighty_words() -> None:
    assert "related to each other" in PROMPT
    overall = " ".join(f"word{number}" for number in range(80)) + "."
    assert read_description(json.dumps({"items": [], "overall": overall})).overall == overall
