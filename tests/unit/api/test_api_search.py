"""Searching images by words of their names and descriptions."""

import pytest
from fastapi.testclient import TestClient

from core.archive import images, search
from core.database import Database
from core.owners.view import EVERYTHING
from tests.unit.api.samples import submit
from tests.unit.api.test_api_images import _taken_in


def found(client: TestClient, q: str, **filters: object) -> list[str]:
    answer = client.get("/v1/images", params={"q": q, **filters})
    assert answer.status_code == 200, answer.text
    return [image["name"] for image in answer.json()["items"]]


def described(database: Database, image_id: str, *names: str, overall: str = "") -> None:
    with database.write() as session:
        image = images.lock(session, image_id, EVERYTHING)
        items = [{"name": name, "detail": f"{name} on the right"} for name in names]
        images.record_description(session, image, "local", {"items": items, "overall": overall})


@pytest.fixture
def birds(client: TestClient, database: Database) -> TestClient:
    for name, *words in (
        ("IMG_0001.png", "red macaw", "green foliage"),
        ("harbour.png", "white sailboat", "grey sky"),
        ("Ara.png", "blue macaw"),
    ):
        described(database, submit(client, name=name)["image"]["id"], *words)
    return client


def test_every_word_has_to_match_and_newest_come_first(birds: TestClient) -> None:
    assert found(birds, "macaw") == ["Ara.png", "IMG_0001.png"]
    assert found(birds, "red macaw") == ["IMG_0001.png"]
    assert found(birds, "macaw right foliage") == ["IMG_0001.png"]
    assert found(birds, "macaw sailboat") == []


def test_case_and_beginnings_of_words_do_not_matter(birds: TestClient) -> None:
    assert found(birds, "MAC") == found(birds, "macaw")
    assert found(birds, "sail GRE") == ["harbour.png"]
    assert found(birds, "acaw") == [], "the middle of a word is not its beginning"


def test_names_of_files_are_found_by_their_parts(birds: TestClient) -> None:
    assert found(birds, "img_0001") == ["IMG_0001.png"]
    assert found(birds, "ara") == ["Ara.png"]
    assert len(found(birds, "png")) == 3


def test_pages_and_other_filters_go_together_with_words(birds: TestClient) -> None:
    first = birds.get("/v1/images", params={"q": "macaw", "limit": 1}).json()
    second = birds.get("/v1/images", params={"q": "macaw", "limit": 1, "cursor": first["next_cursor"]}).json()
    assert [page["items"][0]["name"] for page in (first, second)] == ["Ara.png", "IMG_0001.png"]
    assert second["next_cursor"] is None
    assert found(birds, "macaw", state="ready") == []


def test_text_of_an_imported_stream_is_found(client: TestClient) -> None:
    image_id = _taken_in(client)
    answer = client.get("/v1/images", params={"q": "calm wat"}).json()
    assert [image["id"] for image in answer["items"]] == [image_id]


def test_new_description_replaces_the_words_of_the_old_one(client: TestClient, database: Database) -> None:
    image_id = submit(client, name="a.png")["image"]["id"]
    described(database, image_id, "grey cat")
    described(database, image_id, "black dog")
    assert (found(client, "cat"), found(client, "dog")) == ([], ["a.png"])


def test_deleted_image_is_found_no_more(birds: TestClient) -> None:
    for image in birds.get("/v1/images").json()["items"]:
        assert birds.delete(f"/v1/images/{image['id']}").status_code == 204
    assert found(birds, "macaw") == []


@pytest.mark.parametrize("q", ["", " ", "!?", "a b c d e f g h i j k"])
def test_search_without_words_or_with_too_many_is_refused(client: TestClient, q: str) -> None:
    answer = client.get("/v1/images", params={"q": q})
    assert (answer.status_code, answer.json()["code"]) == (422, "option_invalid")
    assert "1 to 10 words" in answer.json()["detail"]


def test_search_of_more_than_200_characters_is_refused(client: TestClient) -> None:
    assert client.get("/v1/images", params={"q": "a" * 201}).status_code == 400


@pytest.mark.parametrize("q", ["%", "100%", "o'brien", "a\x00b", "\U0010ffff", "ﬁeld", "Straße", "x" * 200])
def test_no_character_breaks_a_search(client: TestClient, q: str) -> None:
    assert client.get("/v1/images", params={"q": q}).status_code in (200, 422)


def test_words_are_lower_case_once_each_and_cut() -> None:
    assert search.words_of("Red red SKY-like", "Ærø_2.jpg ﬁre", "x" * 100) == [
        "red", "sky", "like", "ærø", "2", "jpg", "fire", "x" * 64,
    ]  # fmt: skip
