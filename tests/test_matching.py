"""An event reaches the subscriptions it should, each under the name it knows."""

import pytest

from hookline.matching import effective_types, known_names, match, reason_not_matched, seen_name
from hookline.model import EventType, PayloadVersion, Route, TypeKind

V1, V2, STANDARD, RAW = PayloadVersion.V1, PayloadVersion.V2, PayloadVersion.STANDARD, PayloadVersion.RAW

NOTE = EventType(name="note.created", v1_name="note", v2_name="org.note.created")
CLOSED = EventType(name="closed", v1_name=None, v2_name="org.closed")
PING = EventType(name="webhook.ping", v1_name="webhook.ping", v2_name="org.ping", kind=TypeKind.PING)
DEAD = EventType(name="delivery.dead", v1_name="delivery.dead", v2_name="org.dead", kind=TypeKind.OPERATIONAL)
CATALOGUE = (PING, NOTE, DEAD, CLOSED)


def _route(shape: PayloadVersion, *names: str, is_for_all: bool = False) -> Route:
    return Route(
        subscription_id=7, company_id=3, payload_version=shape, event_types=None if is_for_all else tuple(names)
    )


@pytest.mark.parametrize(
    ("event_type", "shape", "name"),
    [
        (NOTE, V1, "note"),
        (NOTE, V2, "org.note.created"),
        (NOTE, STANDARD, "note.created"),
        (NOTE, RAW, "note.created"),
        (CLOSED, V1, None),
        (CLOSED, V2, "org.closed"),
        (CLOSED, RAW, "closed"),
    ],
)
def test_each_shape_knows_a_type_by_its_own_name(
    event_type: EventType, shape: PayloadVersion, name: str | None
) -> None:
    assert seen_name(event_type, shape) == name


@pytest.mark.parametrize(
    ("event_type", "route", "name"),
    [
        (NOTE, _route(V1, is_for_all=True), "note"),
        (NOTE, _route(V2, is_for_all=True), "org.note.created"),
        (NOTE, _route(STANDARD, is_for_all=True), "note.created"),
        (NOTE, _route(V1, "note"), "note"),
        (NOTE, _route(V1, "other", "note"), "note"),
        (NOTE, _route(V1, "note.created"), None),
        (NOTE, _route(V2, "note"), None),
        (NOTE, _route(V2, "org.note.created"), "org.note.created"),
        (NOTE, _route(RAW, "note.created"), "note.created"),
        (NOTE, _route(V1, "note.create"), None),
        (NOTE, _route(V1, "Note"), None),
        (NOTE, _route(V1), None),
        (CLOSED, _route(V1, is_for_all=True), None),
        (CLOSED, _route(V1, "closed"), None),
        (CLOSED, _route(STANDARD, is_for_all=True), "closed"),
        (PING, _route(V1, is_for_all=True), None),
        (PING, _route(V1, "webhook.ping"), "webhook.ping"),
        (DEAD, _route(V2, is_for_all=True), None),
        (DEAD, _route(V2, "org.dead"), "org.dead"),
    ],
)
def test_a_route_takes_what_its_subscription_asked_for(event_type: EventType, route: Route, name: str | None) -> None:
    assert match(event_type, [route]) == ([] if name is None else [(route, name)])
    assert reason_not_matched(event_type, route) == (None if name else "event type")


def test_every_matching_route_is_taken_once_in_order() -> None:
    routes = [_route(V1, is_for_all=True), _route(V1), _route(V2, is_for_all=True), _route(V1, "note")]
    assert [name for _, name in match(NOTE, routes)] == ["note", "org.note.created", "note"]
    assert match(NOTE, []) == []


def test_a_type_that_the_catalogue_lacks_matches_nobody() -> None:
    assert reason_not_matched(None, _route(V1, is_for_all=True)) == "event type"


def test_all_types_means_the_ordinary_ones_of_the_shape() -> None:
    assert effective_types(CATALOGUE, V1) == ("note",)
    assert effective_types(CATALOGUE, V2) == ("org.closed", "org.note.created")
    assert effective_types(CATALOGUE, STANDARD) == effective_types(CATALOGUE, RAW) == ("closed", "note.created")
    assert effective_types((), V1) == ()


def test_what_may_be_asked_for_includes_ping_and_operational_types() -> None:
    assert known_names(CATALOGUE, V1) == {"note", "webhook.ping", "delivery.dead"}
    assert known_names(CATALOGUE, V2) == {"org.closed", "org.note.created", "org.ping", "org.dead"}


@pytest.mark.parametrize("shape", PayloadVersion)
def test_naming_no_types_is_naming_the_effective_ones(shape: PayloadVersion) -> None:
    named = _route(shape, *effective_types(CATALOGUE, shape))
    for event_type in CATALOGUE:
        everything = [name for _, name in match(event_type, [_route(shape, is_for_all=True)])]
        assert everything == [name for _, name in match(event_type, [named])]
