"""The catalogue over HTTP."""

import pytest

from api.loopback import Server
from api.world import World


def test_absent_names_are_the_name_itself_and_null_is_never(server: Server) -> None:
    made = server.call("PUT", "/v1/event-types/order.paid", {})
    assert made.status == 200
    assert made.json == {
        "name": "order.paid",
        "v1Name": "order.paid",
        "v2Name": "order.paid",
        "kind": "ordinary",
        "description": None,
        "schema": None,
    }
    changed = server.call("PUT", "/v1/event-types/order.paid", {"v1Name": None, "v2Name": "org.example.order.paid"})
    assert (changed.json["v1Name"], changed.json["v2Name"]) == (None, "org.example.order.paid")
    assert server.call("GET", "/v1/event-types/order.paid").json == changed.json
    assert server.call("DELETE", "/v1/event-types/order.paid").status == 204
    assert server.call("GET", "/v1/event-types/order.paid").status == 404
    assert server.call("DELETE", "/v1/event-types/order.paid").status == 404


def test_no_body_counts_as_an_empty_one(server: Server) -> None:
    assert server.call("PUT", "/v1/event-types/bare").json["v1Name"] == "bare"


def test_a_schema_is_shown_as_it_was_said(server: Server) -> None:
    body = b'{"schema": {"multipleOf": 1.10, "const": 18446744073709551616}, "description": "Paid"}'
    assert server.call("PUT", "/v1/event-types/with.schema", body).status == 200
    shown = server.call("GET", "/v1/event-types/with.schema").body
    assert b'"schema":{"multipleOf":1.10,"const":18446744073709551616}' in shown
    assert b'"description":"Paid"' in shown


@pytest.mark.parametrize("name", ["a" * 129, "a b", "a/b", "%C3%A4", "a%00", "a%0A"])
def test_a_name_outside_the_alphabet_is_not_taken(server: Server, name: str) -> None:
    assert server.call("PUT", f"/v1/event-types/{name.replace(' ', '%20')}", {}).status in {400, 404}


def test_a_name_that_is_refused_is_refused_once(server: Server) -> None:
    answer = server.call("PUT", "/v1/event-types/a%20b", {})
    assert [error["field"] for error in answer.json["validationErrors"]] == ["name"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"v1Name": ""}, "v1Name"),
        ({"v2Name": "a b"}, "v2Name"),
        ({"v1Name": 5}, "v1Name"),
        ({"description": "a\u0000"}, "description"),
        ({"description": "a" * 2001}, "description"),
        ({"schema": "text"}, "schema"),
        ({"schema": [1]}, "schema"),
        ({"schema": {"a": "b" * 70_000}}, "schema"),
    ],
)
def test_a_refused_member_is_named(server: Server, body: object, field: str) -> None:
    answer = server.call("PUT", "/v1/event-types/refused", body)
    assert (answer.status, [error["field"] for error in answer.json["validationErrors"]]) == (400, [field])


def test_names_are_unique_in_their_version(server: Server) -> None:
    assert server.call("PUT", "/v1/event-types/first", {"v1Name": "shared"}).status == 200
    assert server.call("PUT", "/v1/event-types/second", {"v1Name": "shared"}).status == 409
    assert server.call("PUT", "/v1/event-types/first", {"v1Name": "shared"}).status == 200


@pytest.mark.parametrize("name", ["webhook.ping", "subscription.failing", "subscription.recovered", "delivery.dead"])
def test_what_we_send_ourselves_stays_as_it_is(server: Server, name: str) -> None:
    before = server.call("GET", f"/v1/event-types/{name}").json
    assert server.call("PUT", f"/v1/event-types/{name}", {}).status == 409
    assert server.call("DELETE", f"/v1/event-types/{name}").status == 409
    assert server.call("GET", f"/v1/event-types/{name}").json == before


def test_every_reader_sees_the_catalogue_by_name_in_pages(server: Server, world: World) -> None:
    for role in ("operator", "member", "viewer"):
        whole = server.call("GET", "/v1/event-types", token=world.tokens[role]).json
        names = [item["name"] for item in whole["items"]]
        assert names == sorted(names)
        assert {"note.created", "webhook.ping", "delivery.dead"} <= set(names)
        walked, cursor = [], ""
        while cursor is not None:
            page = server.call("GET", f"/v1/event-types?limit=3&cursor={cursor}", token=world.tokens[role]).json
            walked += [item["name"] for item in page["items"]]
            cursor = page["next"]
        assert walked == names
