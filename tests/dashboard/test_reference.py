"""The API reference for people says what the description for programs says, and nothing else."""

import pytest

from api.loopback import Server
from dashboard.browsing import Browser
from hookline.dashboard.reference import METHODS, groups, kind, shapes


def test_whoever_comes_sees_every_call_and_every_shape(server: Server, stranger: Browser) -> None:
    description = server.call("GET", "/openapi.json").json
    seen = stranger.see("/docs")
    ids = {attributes.get("id") for attributes in seen.of("details")}
    calls = [method[name] for method in description["paths"].values() for name in METHODS if name in method]
    assert {call["operationId"] for call in calls} <= ids
    assert {shape.name for shape in shapes(description)} <= ids
    for call in calls:
        assert call["summary"].replace("`", "") in seen.text


def test_each_link_within_the_page_leads_somewhere(stranger: Browser) -> None:
    seen = stranger.see("/docs")
    ids = {attributes.get("id") for _, attributes in seen.elements}
    links = {str(attributes["href"])[1:] for attributes in seen.of("a") if str(attributes.get("href")).startswith("#")}
    assert len(links) > 20
    assert links <= ids


def test_calls_stand_under_their_tags_in_the_order_of_the_description(server: Server) -> None:
    description = server.call("GET", "/openapi.json").json
    found = groups(description)
    assert sum(map(len, found.values())) == sum(
        len(set(METHODS) & methods.keys()) for methods in description["paths"].values()
    )
    assert ("POST", "/v1/webhooks") in [(call.method, call.path) for call in found["webhooks"]]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "uri", "maxLength": 2048}, "string (at most 2,048)"),
        ({"type": "string", "format": "date-time"}, "string (date-time)"),
        ({"type": "integer", "format": "int64", "minimum": 1, "maximum": 2**53 - 1}, "integer"),
        ({"type": "integer", "minimum": 1, "maximum": 30}, "integer (1 to 30)"),
        ({"type": "array", "items": {"type": "boolean"}}, "list of boolean"),
        ({"anyOf": [{"enum": ["V1", "RAW"]}, {"type": "null"}]}, "V1 or RAW or null"),
        ({"type": ["integer", "null"]}, "integer or null"),
        ({"const": "V2"}, "V2"),
        ({"$ref": "#/components/schemas/Event"}, "Event"),
        ({}, "anything"),
    ],
)
def test_a_value_is_said_in_words(schema: dict[str, object], words: str) -> None:
    assert kind(schema) == words
