"""What should be left when a month has passed: what is young, what is open, and all that these need."""

from typing import Any, Final

import apsw

from simulation.health import DAY_MS
from simulation.model import Delivery, Lane, Model, check

RETENTION_DAYS: Final = 30

_LEFT: Final = "SELECT id, state, reason FROM deliveries"
_EVENTS: Final = "SELECT id FROM events"
_ORPHANS: Final = (
    "SELECT (SELECT count(*) FROM attempts WHERE delivery_id NOT IN (SELECT id FROM deliveries))"
    " + (SELECT count(*) FROM deliveries WHERE event_key NOT IN (SELECT key FROM events))"
    " + (SELECT count(*) FROM recipients WHERE event_key NOT IN (SELECT key FROM events))"
)


def check_age(model: Model, reading: apsw.Connection, wall: int) -> set[str]:
    """Judge what retention has left at this moment of the wall clock, to the day; return what was seen of it."""
    rows: list[Any] = reading.execute(_LEFT).fetchall()
    left = {id_: (state, reason) for id_, state, reason in rows}
    events = {id_ for (id_,) in reading.execute(_EVENTS)}
    cutoff = wall - RETENTION_DAYS * DAY_MS
    marks = set[str]()
    for delivery in model.deliveries.values():
        lane = model.lanes[delivery.subscription_id]
        accepted_at = model.events[delivery.event_id].answer.accepted_at
        said = left.get(delivery.id)
        if said is not None:
            check("I1", delivery.event_id in events, "delivery", delivery.id, "has lost its event")
        if delivery.due_at is not None:
            marks |= _check_open(delivery, lane, said, accepted_at, cutoff)
        elif (delivery.settled_at or 0) >= cutoff:
            check(
                "I1", said is not None, "delivery", delivery.id, "is forgotten after", wall - (delivery.settled_at or 0)
            )
        elif max(delivery.settled_at or 0, accepted_at) < cutoff - DAY_MS:
            check("I14", said is None, "delivery", delivery.id, "is still there", said)
            marks.add("forgotten")
    for event in model.events.values():
        is_young = event.answer.accepted_at >= cutoff
        check("I1", event.id in events or not is_young, "event", event.id, "is forgotten too early")
        is_needed = any(each.id in left for each in model.deliveries.values() if each.event_id == event.id)
        if not is_needed and event.answer.accepted_at < cutoff - DAY_MS:
            check("I14", event.id not in events, "event", event.id, "is still there")
    check("I14", reading.execute(_ORPHANS).get == 0, "rows are left of what is forgotten")
    return marks


def _check_open(
    delivery: Delivery, lane: Lane, said: tuple[str, str | None] | None, accepted_at: int, cutoff: int
) -> set[str]:
    check("I1", said is not None, "delivery", delivery.id, "is forgotten and was open")
    held_since = max(accepted_at, lane.subscription.inactive_at or 0)
    is_held = not lane.subscription.active and lane.deleted_at is None
    if not is_held or held_since >= cutoff:
        check("I1", said and said[0] == "pending", "delivery", delivery.id, "is", said, "since", held_since - cutoff)
        return set()
    if held_since < cutoff - DAY_MS:
        check("I14", said == ("dead", "expired"), "delivery", delivery.id, "is", said, "and was held too long")
        return {"held too long"}
    return set()
