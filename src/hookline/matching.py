"""Which subscriptions an event is for, and under which name each of them sees its type. Pure."""

from collections.abc import Iterable
from typing import Final

from hookline.model import EventType, PayloadVersion, Route, TypeKind

NOT_MATCHED_BY_TYPE: Final = "event type"


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
    """Return the routes that an event of this type takes, each with the name its subscription sees."""
    is_for_all = event_type.kind is TypeKind.ORDINARY
    matched = []
    for route in routes:
        name = seen_name(event_type, route.payload_version)
        if name is not None and (is_for_all if route.event_types is None else name in route.event_types):
            matched.append((route, name))
    return matched


def reason_not_matched(event_type: EventType | None, route: Route) -> str | None:
    """Return why an event of this type has no delivery for the route, None where it does match.

    `event_type` None: the catalogue did not hold it.
    """
    if event_type is not None and match(event_type, (route,)):
        return None
    return NOT_MATCHED_BY_TYPE


def effective_types(types: Iterable[EventType], shape: PayloadVersion) -> tuple[str, ...]:
    """Return what a subscription of `shape` that names no types gets now, by the names it sees, in their order."""
    return tuple(sorted(known_names((each for each in types if each.kind is TypeKind.ORDINARY), shape)))


def known_names(types: Iterable[EventType], shape: PayloadVersion) -> frozenset[str]:
    """Return every name that a subscription of `shape` may ask for."""
    return frozenset(name for name in (seen_name(event_type, shape) for event_type in types) if name is not None)
