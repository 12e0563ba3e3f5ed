"""Quotas of a company over HTTP, on both databases: who publishes too much is told what to do, others feel nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from api.loopback import Answer, Server, StorageIn
from api.world import World
from hookline.quotas import MEASURED_SECONDS

RATE = 5
BYTES = 1_000
BODY = {"text": "x" * 289}
"""300 bytes as they are stored."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, storage_in: StorageIn) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(**variables: str) -> Server:
        servers.append(Server(tmp_path_factory.mktemp("quotas"), variables, storage_in))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def rated(start: Callable[..., Server]) -> Server:
    return start(HOOKLINE_QUOTA_EVENTS_PER_SECOND=str(RATE))


@pytest.fixture(scope="module")
def bounded(start: Callable[..., Server]) -> Server:
    return start(HOOKLINE_QUOTA_STORED_BYTES=str(BYTES))


def publish(server: Server, *companies: int, key: str | None = None, **members: Any) -> Answer:
    body = {"eventType": "note.created", "companyIds": companies, "data": {}, **members}
    return server.call("POST", "/v1/events", body, headers={"Idempotency-Key": key} if key else None)


def publish_batch(server: Server, company: int, count: int) -> Answer:
    event = {"eventType": "note.created", "companyIds": [company], "data": {}}
    return server.call("POST", "/v1/events/batch", {"events": [event] * count})


def new_company(server: Server) -> int:
    company_id: int = server.call("POST", "/v1/companies", {"name": "A"}).json["id"]
    return company_id


# --- events a second -------------------------------------------------------------------------------------------------


def test_more_events_a_second_than_the_quota_are_refused_until_it_is_over(rated: Server) -> None:
    company, other = new_company(rated), new_company(rated)
    assert [publish(rated, company).status for _ in range(RATE)] == [202] * RATE
    refused = publish(rated, other, company)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert f"Company {company}" in refused.json["detail"]
    assert "HOOKLINE_QUOTA_EVENTS_PER_SECOND" in refused.json["detail"]
    assert len(rated.call("GET", f"/v1/events?companyId={company}").json["items"]) == RATE
    assert [publish(rated, other).status for _ in range(RATE)] == [202] * RATE, "a refusal uses nothing up"
    rated.clock.advance(1 / RATE)
    assert [publish(rated, company).status for _ in range(2)] == [202, 429]


def test_a_batch_counts_by_its_events(rated: Server) -> None:
    company = new_company(rated)
    assert publish_batch(rated, company, 4 * RATE).status == 202, "a batch is taken whole"
    refused = publish(rated, company)
    assert (refused.status, refused.headers["retry-after"]) == (429, "4")
    rated.clock.advance(4)
    assert publish(rated, company).status == 202


def test_a_repetition_is_answered_as_it_was_first(rated: Server) -> None:
    company = new_company(rated)
    first = publish(rated, company, key="k")
    by_id = publish(rated, company, id=f"order-{company}")
    for _ in range(RATE):
        publish(rated, company)
    assert publish(rated, company).status == 429
    assert publish(rated, company, key="k").json == first.json
    assert publish(rated, company, id=f"order-{company}").json == by_id.json


# --- stored bytes ----------------------------------------------------------------------------------------------------


def test_more_than_may_be_stored_is_refused_with_what_to_do(bounded: Server) -> None:
    company, other = new_company(bounded), new_company(bounded)
    ids = [publish(bounded, company, data=BODY).json["id"] for _ in range(3)]
    assert bounded.run(bounded.storage.stored_bytes(company)) == 900
    refused = publish(bounded, company, other, data=BODY)
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= MEASURED_SECONDS
    for word in (f"Company {company} has 900 bytes", "1,000", "HOOKLINE_QUOTA_STORED_BYTES", "retentionDays"):
        assert word in refused.json["detail"]
    assert publish(bounded, other, data=BODY).status == 202
    assert publish(bounded, company, data={"a": 1}).status == 202, "what still fits is taken"
    bounded.call("DELETE", f"/v1/events/{ids[0]}/data")
    assert publish(bounded, company, data=BODY).status == 429
    bounded.clock.advance(MEASURED_SECONDS + 1)
    assert publish(bounded, company, data=BODY).status == 202


def test_what_others_stored_counts_when_it_is_first_asked_for(bounded: Server) -> None:
    company = new_company(bounded)
    quotas, publisher = bounded.api.publisher._quotas, bounded.api.publisher
    assert quotas
    publisher._quotas = None  # as another node would publish
    for _ in range(3):
        publish(bounded, company, data=BODY)
    publisher._quotas = quotas
    assert publish(bounded, company, data=BODY).status == 429


# --- off -------------------------------------------------------------------------------------------------------------


def test_without_a_quota_nothing_is_asked(server: Server, world: World) -> None:
    assert server.api.publisher._quotas is None
    assert [publish(server, world.company, data=BODY).status for _ in range(20)] == [202] * 20
