"""Which subscriptions an event is for, and under which name each of them sees its type. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from hookline import filtering
from hookline.filtering import Document, Expression
from hookline.model import Entry, EventType, PayloadVersion, Route, TypeKind

NOT_MATCHED_BY_TYPE: Final = "event type"
NOT_MATCHED_BY_DIRECTION: Final = "case direction"
NOT_MATCHED_BY_PARTNER: Final = "partner company"
NOT_MATCHED_BY_FILTER: Final = "filter"


class Demands(Struct, frozen=True, kw_only=True):
    """What a subscription demands of an event beyond its type."""

    case_directions: frozenset[str] | None
    partner_company_ids: frozenset[int] | None
    expression: Expression | None


def seen_name(event_type: EventType, shape: PayloadVersion) -> str | None:
    """Return the name that subscriptions of `shape` know the type by; None where they never get it."""
    match shape:
        case PayloadVersion.V1:
            return event_type.v1_name
        case PayloadVersion.V2:
            return event_type.v2_name
        case PayloadVersion.STANDARD | PayloadVersion.RAW:
            return event_type.name


def match(event_type: EventType, routes: Iterable[Route]) -> list[tuple[Route, str]]:
    """Return the routes that want an event of this type, each with the name its subscription sees.

    Those that demand more (`demands_of`) get it only where `unmet` finds nothing.
    """
    is_for_all = event_type.kind is TypeKind.ORDINARY
    matched = []
    for route in routes:
        name = seen_name(event_type, route.payload_version)
        if name is not None and (is_for_all if route.event_types is None else name in route.event_types):
            matched.append((route, name))
    return matched


def demands_of(route: Route) -> Demands | None:
    """Return what the route demands of an event beyond its type, ready to be asked; None for nothing."""
    directions, partners, expression = route.case_directions, route.partner_company_ids, route.filter
    if directions is None and partners is None and expression is None:
        return None
    return Demands(
        case_directions=None if directions is None else frozenset(directions),
        partner_company_ids=None if partners is None else frozenset(partners),
        expression=None if expression is None else filtering.parse(expression),
    )


def unmet(demands: Demands, entries: Sequence[Entry], document: Document) -> str | None:
    """Return which demand an event for a recipient with these entries does not meet, None where it meets all.

    One entry that has both the direction and the partner is enough.
    """
    directions, partners = demands.case_directions, demands.partner_company_ids
    if directions is not None:
        entries = [entry for entry in entries if entry.case_direction in directions]
        if not entries:
            return NOT_MATCHED_BY_DIRECTION
    if partners is not None and not any(entry.partner_company_id in partners for entry in entries):
        return NOT_MATCHED_BY_PARTNER
    if demands.expression is not None and not filtering.holds(demands.expression, document):
        return NOT_MATCHED_BY_FILTER
    return None


def reason_not_matched(
    event_type: EventType | None, route: Route, entries: Sequence[Entry] = (), document: Document | None = None
) -> str | None:
    """Return why an event of this type, for a recipient with these entries, has no delivery for the route.

    None where it does match. `event_type` None: the catalogue did not hold it. `document` None: the data is erased, and
    whether a filter let the event through cannot be told any more; it is taken to have.
    """
    if event_type is None or not match(event_type, (route,)):
        return NOT_MATCHED_BY_TYPE
    if document is None:
        route = replace(route, filter=None)
    demands = demands_of(route)
    return None if demands is None else unmet(demands, entries, document or Document(b"{}"))


def effective_types(types: Iterable[EventType], shape: PayloadVersion) -> tuple[str, ...]:
    """Return what a subscription of `shape` that names no types gets now, by the names it sees, in their order."""
    return tuple(sorted(known_names((each for each in types if each.kind is TypeKind.ORDINARY), shape)))


def known_names(types: Iterable[EventType], shape: PayloadVersion) -> frozenset[str]:
    """Return every name that a subscription of `shape` may ask for."""
    return frozenset(name for name in (seen_name(event_type, shape) for event_type in types) if name is not None)
