"""Descriptions that come as a file beside the pictures."""

import json

from fastapi.testclient import TestClient

from tests.unit.api.samples import picture

PUBLISHED = """name,prompt
one.png,"cat, sofa, lamp. What is where:

a grey cat
a red sofa
a tall lamp

A cat sleeps on a sofa."
two.png,"boat, sea, sky. 
a small boat
a calm sea
a pink sky
A boat at dusk."
,
"""


def _captions(text: str, name: str = "captions.csv") -> tuple[str, tuple[str, bytes]]:
    return ("captions", (name, text.encode()))


def test_each_picture_of_a_batch_gets_its_own_description(client: TestClient) -> None:
    files = [("files", (name, picture(index))) for index, name in enumerate(["two.png", "one.jpg", "three.png"])]
    answer = client.post("/v1/batches", files=[*files, _captions(PUBLISHED)])
    body = answer.json()
    assert answer.status_code == 202, body
    assert [entry["name"] for entry in body["images"]] == ["two.png", "one.jpg"]
    assert [(entry["name"], entry["code"]) for entry in body["rejected"]] == [("three.png", "captions_invalid")]
    images = {entry["name"]: client.get(f"/v1/images/{entry['image_id']}").json() for entry in body["images"]}
    assert images["two.png"]["options"]["description"]["overall"] == "A boat at dusk."
    assert images["one.jpg"]["options"]["description"]["items"][1] == {"name": "sofa", "detail": "a red sofa"}


def test_one_picture_with_a_json_description_beside_it(client: TestClient) -> None:
    said = {"items": [{"name": "cat", "detail": "a grey cat"}], "overall": "A cat."}
    files = [("file", ("any.png", picture())), _captions(json.dumps(said), "said.json")]
    answer = client.post("/v1/images", files=files)
    assert answer.status_code == 202, answer.json()
    shown = client.get(f"/v1/images/{answer.json()['image']['id']}").json()
    assert shown["options"]["description"] == said


def test_captions_that_cannot_be_used_are_refused_by_name(client: TestClient) -> None:
    for text, fault in (("nonsense", "name,prompt"), ("", "empty"), ("[1", "JSON"), (PUBLISHED[:60], "quotes")):
        answer = client.post("/v1/images", files=[("file", ("one.png", picture())), _captions(text)])
        assert (answer.status_code, answer.json()["code"]) == (422, "captions_invalid")
        assert "captions.csv" in answer.json()["detail"] and fault in answer.json()["detail"]
    answer = client.post("/v1/images", files=[("file", ("x.png", picture())), _captions(PUBLISHED)])
    assert "no description for x.png" in answer.json()["detail"]


def test_captions_beside_a_text_are_refused(client: TestClient) -> None:
    answer = client.post(
        "/v1/images",
        files=[("file", ("one.png", picture())), _captions(PUBLISHED)],
        data={"options": '{"text": "A cat."}'},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "option_invalid")
