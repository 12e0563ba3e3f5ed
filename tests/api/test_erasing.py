"""Erasing an event's data over HTTP, on both databases."""

from collections.abc import Iterator

import pytest

from api.loopback import Server, StorageIn
from api.traffic import claim, publish, settle
from api.world import World

CALLBACK = {"callbackUrl": "https://receiver.example.com/in"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, storage_in: StorageIn) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("erasing"), storage_in=storage_in)
    yield server
    server.close()


def test_what_an_event_said_is_gone_and_that_it_was_stays(server: Server, world: World) -> None:
    member = world.tokens["member"]
    ended, waiting = (server.call("POST", "/v1/webhooks", CALLBACK, token=member).json["id"] for _ in range(2))
    event_id = publish(server, world.company, data={"name": "Ada Lovelace"})
    for claimed in claim(server):
        settle(
            server,
            claimed,
            status=200 if claimed.subscription_id == ended else 500,
            retry_ms=None if claimed.subscription_id == ended else 60_000,
            response_body=b"thank you, Ada Lovelace",
        )
    erased = server.call("DELETE", f"/v1/events/{event_id}/data")
    assert (erased.status, erased.body) == (204, b"")
    event = server.call("GET", f"/v1/events/{event_id}").json
    assert (event["erased"], event["data"]) == (True, None)
    states = {each["subscriptionId"]: (each["state"], each["reason"]) for each in event["deliveries"]}
    assert states == {ended: ("succeeded", None), waiting: ("cancelled", "erased")}
    for each in event["deliveries"]:
        path = f"/v1/webhooks/{each['subscriptionId']}/deliveries"
        log = server.call("GET", path, token=member)
        (row,) = log.json["content"]
        assert (row["erased"], row["requestBody"], row["responseBody"]) == (True, None, None)
        whole = server.call("GET", f"{path}/{each['id']}", token=member)
        assert whole.json["erased"] is True
        assert b"Lovelace" not in log.body + whole.body
        again = server.call("POST", f"{path}/{each['id']}/redeliver", token=member)
        assert again.status == 409
        assert "erased" in again.json["detail"]
    assert server.call("DELETE", f"/v1/events/{event_id}/data").status == 204


def test_only_an_operator_erases_and_only_what_is_there(server: Server, world: World) -> None:
    event_id = publish(server, world.company)
    for role in ("member", "viewer", "publisher"):
        assert server.call("DELETE", f"/v1/events/{event_id}/data", token=world.tokens[role]).status == 403
    assert server.call("DELETE", "/v1/events/evt_unknown/data").status == 404
    assert server.call("GET", f"/v1/events/{event_id}").json["erased"] is False
