"""From a request to events with deliveries on disk: what is refused and where, what is matched, what is cached."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest

from hookline import circuit, drafting, filtering, publishing
from hookline.drafting import EventRequest
from hookline.errors import Invalid, Unavailable
from hookline.model import BUILT_IN_COMPANY_ID, Company, EventType, PayloadVersion, Policies, Subscription
from hookline.publishing import Announcement, Publisher
from hookline.storage.protocol import Storage
from hookline.storage.publications import IdConflict, KeyConflict, Publication, Published, PublishResult, Routes, Stale
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.sqlite.readers import InlineReaders
from hookline.storage.sqlite.writer import InlineWriter
from hookline.storage.views import EventQuery

Result = TypeVar("Result")
ACME, OTHER = 101, 102
NOW_MS = 1_795_000_000_000
PLAIN_POLICIES = Policies()
SOURCE = "https://hooks.example.com"


class StandingClock:
    def wall_ms(self) -> int:
        return NOW_MS

    def schedule_ms(self) -> int:
        return NOW_MS

    def monotonic_seconds(self) -> float:
        return NOW_MS / 1000


class Watched:
    """The real storage, keeping what passed through `publish` and counting readings of routes."""

    def __init__(self, storage: SqliteStorage) -> None:
        self._storage = storage
        self.publications: list[Publication] = []
        self.routes_read: list[Sequence[int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def publish(self, publication: Publication) -> PublishResult:
        self.publications.append(publication)
        return await self._storage.publish(publication)

    async def routes(self, company_ids: Sequence[int]) -> Any:
        self.routes_read.append(company_ids)
        return await self._storage.routes(company_ids)


class Bench:
    """A publisher over a file of SQLite with two companies."""

    def __init__(self, storage: SqliteStorage) -> None:
        self.storage: Any = Watched(storage)
        self.publisher = publisher_on(self.storage)
        self._ids = iter(range(1001, 20_000))

    async def subscribe(
        self,
        company_id: int = ACME,
        event_types: tuple[str, ...] | None = None,
        shape: PayloadVersion = PayloadVersion.V1,
        policies: Policies = PLAIN_POLICIES,
    ) -> int:
        subscription = Subscription(
            id=next(self._ids),
            company_id=company_id,
            revision=1,
            callback_url="https://api.example.com/in",
            event_types=event_types,
            payload_version=shape,
            policies=policies,
            secrets=(),
            created_at=NOW_MS,
            updated_at=NOW_MS,
        )
        await self.storage.create_subscription(subscription, 20_000)
        return subscription.id

    async def publish(self, **members: Any) -> Any:
        return await self.publisher.publish(event(**members), None)

    async def batch(self, *events: dict[str, Any]) -> Any:
        return await self.publisher.publish_batch([event(**members) for members in events], None)

    def published_to(self) -> list[int]:
        """Return the subscriptions that the last publication has deliveries for."""
        (single,) = self.storage.publications[-1].events
        return [delivery.subscription_id for delivery in single.deliveries]


PLAIN: dict[str, Any] = {"eventType": "note.created", "companyIds": [ACME], "data": {"a": 1}}


def publisher_on(storage: Storage) -> Publisher:
    return Publisher(storage=storage, clock=StandingClock(), random_bytes=Random(1).randbytes, event_source=SOURCE)


def event(**members: Any) -> EventRequest:
    said = {name: value for name, value in {**PLAIN, **members}.items() if value is not None}
    return msgspec.json.decode(msgspec.json.encode(said), type=EventRequest)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Bench]:
    storage = SqliteStorage(
        str(path / "hookline.db"), clock=StandingClock(), writer=InlineWriter, readers=InlineReaders
    )
    await storage.open()
    try:
        for company_id in (ACME, OTHER):
            await storage.create_company(Company(id=company_id, name=f"{company_id}", created_at=NOW_MS))
        yield Bench(storage)
    finally:
        await storage.close()


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Bench], Coroutine[Any, Any, Result]]], Result]:
    """Run a scenario on a fresh bench."""

    def run_scenario(scenario: Callable[[Bench], Coroutine[Any, Any, Result]]) -> Result:
        async def on_a_fresh_one() -> Result:
            async with opened(tmp_path) as bench:
                return await scenario(bench)

        return asyncio.run(on_a_fresh_one())

    return run_scenario


Run = Callable[[Callable[[Bench], Coroutine[Any, Any, Any]]], Any]


def refused(run: Run, **members: Any) -> Invalid:
    async def scenario(bench: Bench) -> Invalid:
        with pytest.raises(Invalid) as caught:
            await bench.publish(**members)
        assert not bench.storage.publications, "what is refused never reaches the database"
        return caught.value

    found: Invalid = run(scenario)
    return found


# --- what the request alone tells ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"companyIds": None}, "companyIds"),
        ({"recipients": [{"companyId": ACME}]}, "companyIds"),
        ({"companyIds": []}, "companyIds"),
        ({"companyIds": [ACME] * 1001}, "companyIds"),
        ({"companyIds": None, "recipients": []}, "recipients"),
        (
            {"companyIds": None, "recipients": [{"companyId": ACME, "caseDirection": "UP"}]},
            "recipients[0].caseDirection",
        ),
        ({"companyIds": None, "recipients": [{"companyId": ACME}, {"companyId": 9}]}, "recipients[1]"),
        ({"companyIds": [ACME, 9, 1]}, "companyIds[1]"),
        ({"companyIds": [1]}, "companyIds[0]"),
        ({"companyIds": [-5]}, "companyIds[0]"),
        ({"id": ""}, "id"),
        ({"id": "a" * 65}, "id"),
        ({"id": "a b"}, "id"),
        ({"id": "ä"}, "id"),
        ({"id": "a\n"}, "id"),
        ({"data": []}, "data"),
        ({"data": "text"}, "data"),
        ({"data": 1}, "data"),
        ({"data": {"a": "x" * drafting.DATA_BYTES_MAX}}, "data"),
        ({"data": {"eventType": 1}}, "data"),
        ({"data": {"timestamp": None}}, "data"),
        ({"eventType": "note.gone"}, "eventType"),
        ({"eventType": "webhook.ping"}, "eventType"),
        ({"eventType": "delivery.dead"}, "eventType"),
        ({"eventType": ""}, "eventType"),
        ({"occurredAt": "1969-12-31T23:59:59Z"}, "occurredAt"),
    ],
)
def test_a_refusal_names_the_member(run: Run, members: dict[str, Any], field: str) -> None:
    error = refused(run, **members)
    assert error.fields[0].field == field
    assert str(error).startswith(f"{field}: ")


def test_data_may_have_the_limit_to_the_byte_after_its_white_space_went(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        room = drafting.DATA_BYTES_MAX - len(b'{"a":""}')
        request = b'{"eventType":"note.created","companyIds":[101],"data": {  "a" : "%b" } }' % (b"x" * room)
        await bench.publisher.publish(msgspec.json.decode(request, type=EventRequest), None)
        assert len(bench.storage.publications[-1].events[0].data) == drafting.DATA_BYTES_MAX
        over = msgspec.json.decode(request.replace(b'"a"', b'"ab"'), type=EventRequest)
        with pytest.raises(Invalid, match=r"data: is 262,145 bytes"):
            await bench.publisher.publish(over, None)

    run(scenario)


def test_data_deep_inside_may_be_called_as_it_likes(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.publish(data={"deep": {"eventType": 1, "timestamp": 2}})
        await bench.publish(eventType="collaboration-request.closed", data={"eventType": 1})  # has no V1 name

    run(scenario)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "order.paid",
            "there is no event type order.paid. An operator makes it with `PUT /v1/event-types/order.paid` {}.",
        ),
        ("note.craeted", "Did you mean note.created?"),
        ("no name", "'no name' is no name of an event type"),
        ("x" * 129, "is no name of an event type"),
    ],
)
def test_an_unknown_type_names_the_remedy(run: Run, name: str, message: str) -> None:
    assert message in str(refused(run, eventType=name))


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("2026-11-23T08:00:00Z", 1_795_420_800_000),
        ("2026-11-23T09:30:00.123456+01:30", 1_795_420_800_123),
        ("2026-11-22T22:00:00-10:00", 1_795_420_800_000),
        (None, None),
    ],
)
def test_the_time_of_an_event_has_any_offset(run: Run, said: str | None, stored: int | None) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.publish(occurredAt=said)
        assert bench.storage.publications[-1].events[0].occurred_at == stored

    run(scenario)


@pytest.mark.parametrize("header", ["", "a" * 256, "a b", "ä", "a\t", "\x7f"])
def test_a_key_is_visible_ascii(header: str) -> None:
    with pytest.raises(Invalid) as caught:
        publishing.key_of(header, "/v1/events", b"{}")
    assert caught.value.fields[0].field == "Idempotency-Key"


def test_a_key_is_bound_to_path_and_bytes() -> None:
    key = publishing.key_of("k" * 255, "/v1/events", b"{}")
    assert key == publishing.key_of("k" * 255, "/v1/events", b"{}")
    assert key.fingerprint != publishing.key_of("k" * 255, "/v1/events/batch", b"{}").fingerprint
    assert key.fingerprint != publishing.key_of("k" * 255, "/v1/events", b"{ }").fingerprint


# --- what subscriptions demand ---------------------------------------------------------------------------------------


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hold each text of data that was parsed."""
    texts: list[str] = []

    def loads(text: str, **hooks: Any) -> Any:
        if "object_pairs_hook" not in hooks:
            texts.append(text)
        return json.loads(text, **hooks)

    monkeypatch.setattr(filtering, "json", SimpleNamespace(loads=loads))
    return texts


def test_data_is_parsed_once_for_all_filters_and_never_without_one(run: Run, parsed: list[str]) -> None:
    async def scenario(bench: Bench) -> None:
        plain = await bench.subscribe(ACME)
        await bench.subscribe(OTHER, policies=Policies(case_directions=("INBOUND",)))
        await bench.publish(companyIds=[ACME, OTHER])
        assert (bench.published_to(), parsed) == ([plain], [])
        filtered = [
            await bench.subscribe(company_id, policies=Policies(filter=text))
            for company_id in (ACME, OTHER)
            for text in ('{"a":1}', '{"a":2}', '{"b":{"exists":false}}')
        ]
        await bench.publish(companyIds=[ACME, OTHER])
        assert bench.published_to() == [plain, *filtered[0:1], filtered[2], filtered[3], filtered[5]]
        assert parsed == ['{"a":1}']
        await bench.publish(companyIds=[ACME], eventType="collaboration-request.closed")
        assert len(parsed) == 1, "no route takes the type, so no filter is asked"

    run(scenario)


# --- batches ---------------------------------------------------------------------------------------------------------


def refused_batch(run: Run, *events: dict[str, Any]) -> list[str]:
    async def scenario(bench: Bench) -> list[str]:
        with pytest.raises(Invalid) as caught:
            await bench.batch(*events)
        assert not bench.storage.publications
        return [error.field for error in caught.value.fields]

    fields: list[str] = run(scenario)
    return fields


def test_a_batch_names_each_refused_member_by_index(run: Run) -> None:
    fields = refused_batch(run, {}, {"data": []}, {}, {"id": "?"})
    assert fields == ["events[1].data", "events[3].id"]


def test_a_batch_names_unknown_companies_by_both_indices(run: Run) -> None:
    assert refused_batch(run, {}, {"companyIds": [ACME, 9]}, {"companyIds": [8]}) == [
        "events[1].companyIds[1]",
        "events[2].companyIds[0]",
    ]


def test_a_batch_names_an_unknown_type_by_index(run: Run) -> None:
    assert refused_batch(run, {}, {"eventType": "order.paid"}) == ["events[1].eventType"]


def test_a_batch_has_an_id_once(run: Run) -> None:
    assert refused_batch(run, {"id": "a"}, {}, {"id": "a"}, {"id": "a"}) == ["events[2].id", "events[3].id"]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_one_to_a_thousand_events(run: Run, count: int) -> None:
    assert refused_batch(run, *[{}] * count) == ["events"]


def test_a_batch_of_nothing_but_faults_names_a_few(run: Run) -> None:
    assert len(refused_batch(run, *[{"data": []}] * 1000)) == drafting.ERRORS_MAX


def test_a_batch_answers_in_the_order_in_which_it_asked(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.subscribe(OTHER)
        result = await bench.batch({"id": "a"}, {"id": "b", "companyIds": [OTHER]}, {"id": "c"})
        assert [(each.id, each.deliveries) for each in result.events] == [("a", 0), ("b", 1), ("c", 0)]

    run(scenario)


def test_one_request_makes_ten_thousand_deliveries_and_not_one_more(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(20):
            await bench.subscribe()
        await bench.batch(*[{}] * 500)
        await bench.subscribe(OTHER)
        with pytest.raises(Invalid, match=r"10,001 deliveries.*at most 10,000"):
            await bench.batch(*[{}] * 499, {"companyIds": [ACME, OTHER]})

    run(scenario)


# --- matching --------------------------------------------------------------------------------------------------------


def test_a_company_named_twice_gets_one_delivery(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        subscription = await bench.subscribe()
        result = await bench.publish(companyIds=[ACME, OTHER, ACME])
        assert (result.events[0].deliveries, bench.published_to()) == (1, [subscription])
        inbound = {"companyId": ACME, "caseDirection": "INBOUND"}
        outbound = {"companyId": ACME, "caseDirection": "OUTBOUND", "partnerCompanyId": 4}
        result = await bench.publish(companyIds=None, recipients=[inbound, outbound, inbound, {"companyId": ACME}])
        assert result.events[0].deliveries == 1
        (recipient,) = bench.storage.publications[-1].events[0].recipients
        assert [entry.case_direction for entry in recipient.entries] == ["INBOUND", "OUTBOUND"]

    run(scenario)


def test_each_shape_gets_the_name_that_it_sees(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.storage.put_event_type(EventType(name="order.paid", v1_name="orderPaid", v2_name=None))
        for shape in PayloadVersion:
            await bench.subscribe(shape=shape)
        await bench.publish(eventType="order.paid")
        (single,) = bench.storage.publications[-1].events
        assert {delivery.payload_version: delivery.type_name for delivery in single.deliveries} == {
            PayloadVersion.V1: "orderPaid",
            PayloadVersion.STANDARD: "order.paid",
            PayloadVersion.RAW: "order.paid",
        }
        await bench.publish()
        (single,) = bench.storage.publications[-1].events
        assert {delivery.source for delivery in single.deliveries} == {None, SOURCE}

    run(scenario)


def test_routes_are_read_once_and_again_when_they_changed(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        first = await bench.subscribe()
        await bench.publish()
        await bench.publish()
        assert (bench.published_to(), bench.storage.routes_read) == ([first], [[ACME]])
        second = await bench.subscribe()
        result = await bench.publish()
        assert (result.events[0].deliveries, bench.published_to()) == (2, [first, second])
        await bench.storage.delete_subscription(first)
        await bench.publish()
        assert bench.published_to() == [second]
        assert bench.storage.routes_read == [[ACME]] * 3

    run(scenario)


def test_a_changed_catalogue_is_matched_again(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.subscribe()
        await bench.publish()
        await bench.storage.put_event_type(EventType(name="note.created", v1_name="noted", v2_name=None))
        await bench.publish()
        (single,) = bench.storage.publications[-1].events
        assert [delivery.type_name for delivery in single.deliveries] == ["noted"]
        await bench.storage.delete_event_type("note.created")
        with pytest.raises(Invalid, match="there is no event type"):
            await bench.publish()

    run(scenario)


def test_a_type_made_behind_the_cache_is_known(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.subscribe()
        await bench.publish()
        await bench.storage.put_event_type(EventType(name="order.paid", v1_name="order.paid", v2_name=None))
        result = await bench.publish(eventType="order.paid")
        assert result.events[0].deliveries == 1

    run(scenario)


def test_data_is_judged_by_the_type_as_it_is_now(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.publish()
        await bench.storage.put_event_type(EventType(name="note.created", v1_name=None, v2_name=None))
        assert isinstance(await bench.publish(data={"timestamp": 1}), Published)

    run(scenario)


def test_deliveries_are_counted_by_the_subscriptions_of_now(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        first = await bench.subscribe()
        await bench.publish()
        await bench.subscribe()
        await bench.publish()
        monkeypatch.setattr(publishing, "DELIVERIES_MAX", 1)
        await bench.storage.delete_subscription(first)
        assert (await bench.publish()).events[0].deliveries == 1

    run(scenario)


def test_a_company_deleted_behind_the_cache_is_unknown(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.publish()
        await bench.storage.delete_company(ACME, cascade=True)
        with pytest.raises(Invalid) as caught:
            await bench.publish()
        assert caught.value.fields[0].field == "companyIds[0]"

    run(scenario)


def test_the_operator_s_own_company_cannot_be_named_after_it_was_told_something_either(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.subscribe(BUILT_IN_COMPANY_ID, (circuit.DEAD,))
        told = Announcement(id="told", event_type=circuit.DEAD, data=b"{}", company_ids=(ACME, BUILT_IN_COMPANY_ID))
        for _ in range(2):
            with pytest.raises(Invalid, match=r"companyIds\[1\]: there is no company 1\."):
                await bench.publish(companyIds=[ACME, BUILT_IN_COMPANY_ID])
            await bench.publisher.announce(told)
        assert [event.id for event in bench.storage.publications[0].events] == ["told"]

    run(scenario)


def test_what_never_stops_changing_is_given_up(run: Run) -> None:
    class Restless(Watched):
        async def publish(self, publication: Publication) -> PublishResult:
            self.publications.append(publication)
            return Stale(catalogue=True, company_ids=(ACME,))

    async def scenario(bench: Bench) -> None:
        restless: Any = Restless(bench.storage)
        with pytest.raises(Unavailable):
            await publisher_on(restless).publish(event(), None)
        assert len(restless.publications) == publishing.MATCHING_TRIES

    run(scenario)


def test_routes_that_go_stale_while_others_are_read_are_read_again(run: Run) -> None:
    """Another request may forget a company between this one's readings."""

    async def scenario(bench: Bench) -> None:
        class Forgetful(Watched):
            async def routes(self, company_ids: Sequence[int]) -> Any:
                found: dict[int, Routes] = await super().routes(company_ids)
                if company_ids == [OTHER]:
                    publisher._companies.clear()
                return found

        storage: Any = Forgetful(bench.storage)
        publisher = publisher_on(storage)
        await publisher.publish(event(), None)
        result = await publisher.publish(event(companyIds=[ACME, OTHER]), None)
        assert isinstance(result, Published)

    run(scenario)


def test_the_cache_is_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "CACHED_MAX", 10)

    async def scenario(bench: Bench) -> None:
        await bench.subscribe()
        for number in range(200, 260):
            await bench.storage.create_company(Company(id=number, name="a", created_at=NOW_MS))
            await bench.publish(companyIds=[number, ACME])
            assert len(bench.publisher._companies) <= 10
        assert bench.published_to() == [1001]

    run(scenario)


# --- saying it twice -------------------------------------------------------------------------------------------------


def test_the_same_event_under_its_id_is_the_same_however_it_is_listed(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.subscribe()
        first = await bench.publish(id="a", companyIds=[ACME, OTHER])
        assert await bench.publish(id="a", companyIds=[OTHER, ACME, OTHER]) == first
        recipients = [{"companyId": OTHER}, {"companyId": ACME}]
        assert await bench.publish(id="a", companyIds=None, recipients=recipients) == first
        spaced = b'{"id":"a","eventType":"note.created","data":{ "a" : 1 },"companyIds":[101,102]}'
        assert await bench.publisher.publish(msgspec.json.decode(spaced, type=EventRequest), None) == first

    run(scenario)


@pytest.mark.parametrize(
    "members",
    [
        {"data": {"a": 1.0}},
        {"companyIds": [ACME, OTHER]},
        {"companyIds": None, "recipients": [{"companyId": ACME, "caseDirection": "INBOUND"}]},
        {"occurredAt": "2026-11-23T08:00:00Z"},
        {"eventType": "collaboration-request.created"},
    ],
)
def test_another_event_under_an_id_is_a_conflict(run: Run, members: dict[str, Any]) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.publish(id="a")
        assert await bench.publish(**{"id": "a", **members}) == IdConflict(index=0)
        assert await bench.batch({"id": "b"}, {"id": "a", **members}) == IdConflict(index=1)
        assert await bench.storage.event("b", company_id=None, after_id=0, limit=1, attempts_max=1) is None

    run(scenario)


def test_a_known_event_is_answered_after_its_company_changed(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.subscribe()
        first = await bench.publish(id="a")
        await bench.subscribe()
        assert await bench.publish(id="a") == first
        assert first.events[0].deliveries == 1

    run(scenario)


def test_a_repetition_is_answered_after_its_type_and_company_went(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        key = publishing.key_of("k", "/v1/events", b"one")
        by_key = await bench.publisher.publish(event(), key)
        by_id = await bench.publish(id="a")
        await bench.storage.delete_event_type("note.created")
        await bench.storage.delete_company(ACME, cascade=True)
        for publisher in (bench.publisher, publisher_on(bench.storage)):
            assert await publisher.publish(event(), key) == by_key
            assert await publisher.publish(event(id="a"), None) == by_id
            assert await publisher.publish(event(id="a", data={}), None) == IdConflict(index=0)
            with pytest.raises(Invalid):
                await publisher.publish(event(id="b"), None)
            with pytest.raises(Invalid):
                await publisher.publish_batch([event(id="a"), event(id="b")], None)
        assert len(await bench.storage.events(EventQuery(limit=10))) == 2

    run(scenario)


def test_a_key_answers_its_first_answer_and_no_other_request(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        key = publishing.key_of("k", "/v1/events", b"one")
        first = await bench.publisher.publish(event(), key)
        assert isinstance(first, Published)
        await bench.subscribe()
        assert await bench.publisher.publish(event(), key) == first
        other = publishing.key_of("k", "/v1/events", b"two")
        assert await bench.publisher.publish(event(), other) == KeyConflict()
        assert len(await bench.storage.events(EventQuery(limit=10))) == 1

    run(scenario)


def test_the_remedy_for_a_name_that_v1_takes_leaves_the_v2_name_as_it_is(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        for v2_name, body in (("order.paid", '{"v1Name":null}'), ("x.paid", '{"v1Name":null,"v2Name":"x.paid"}')):
            await bench.storage.put_event_type(EventType(name="order.paid", v1_name="order.paid", v2_name=v2_name))
            with pytest.raises(Invalid) as caught:
                await bench.publish(eventType="order.paid", data={"timestamp": 1})
            assert f"`PUT /v1/event-types/order.paid` {body}" in str(caught.value)

    run(scenario)
