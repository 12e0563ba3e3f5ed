"""Find events by what their data holds: `data.order.id = 42`, or any text. Looks at a bounded number and says so.

A path and a value are judged as a subscription's filter would judge them; the database only leaves out what cannot
hold the value, by its bytes.
"""

import re
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from hookline import filtering
from hookline.dashboard.context import Dashboard
from hookline.errors import Invalid
from hookline.filtering import Document, Expression
from hookline.storage.views import EventQuery, EventView

LOOKED_AT_MAX: Final = 10_000
"""Events of one search: a moment of the database's time, whatever is asked for."""
EACH_LOOKED_AT_MAX: Final = 2_000
"""Where each event is looked up by itself: of one company, or with the state of its deliveries."""
PARTS_MAX: Final = 4
"""Rounds of one search, where what the bytes allow for is not what was asked for."""
TEXT_MAX: Final = 256
_MEMBER: Final = re.compile(r"(?:data\.)?(?P<path>[^=\s][^=]*?)\s*={1,2}\s*(?P<value>.+)", re.DOTALL)
_PLAIN: Final = re.compile(r"[A-Za-z0-9 _.:@+-]+")
"""What every JSON writer leaves as it is."""


class Wanted(NamedTuple):
    """What the data must hold: bytes that are there in any case, and, with a path, a condition."""

    containing: bytes | None
    expression: Expression | None

    def holds(self, view: EventView) -> bool:
        """Tell whether an event is one."""
        data = view.event.data
        return self.expression is None or (data is not None and filtering.holds(self.expression, Document(data)))


class Found(NamedTuple):
    """What was found, and where to go on; `is_cut`: the search ended for it had looked at enough."""

    views: list[EventView]
    next_before_key: int | None
    is_cut: bool
    looked_at_max: int = LOOKED_AT_MAX


def wanted(text: str) -> Wanted:
    """Read what was typed; raise `Invalid` where a path or value cannot be one."""
    if not text:
        return Wanted(None, None)
    if len(text) > TEXT_MAX:
        raise Invalid(f"At most {TEXT_MAX} characters can be searched for.")
    member = _MEMBER.fullmatch(text)
    if member is None:
        return Wanted(text.encode("utf-8", "replace"), None)
    path, value = member["path"], member["value"].strip()
    condition = msgspec.json.encode({path: {"in": _readings(value)}})
    return Wanted(_bytes_of(value, path), filtering.parse(filtering.compacted(condition)))


def _readings(value: str) -> list[object]:
    """Return what the value may be: a text, and whatever else it reads as. Between quotes it is a text alone."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        return [value[1:-1]]
    try:
        read = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return [value]
    return [value, msgspec.Raw(value.encode()) if isinstance(read, int | float) else read]


def _bytes_of(value: str, path: str) -> bytes | None:
    """Return the longest part that stands in the data as it is typed: of the value, or else of the last name."""
    for text in (value.strip('"'), path.rpartition(".")[2]):
        parts: list[str] = _PLAIN.findall(text)
        if parts:
            return max(parts, key=len).encode()
    return None


async def search(dashboard: Dashboard, query: EventQuery, what: Wanted) -> Found:
    """Look for the newest events, one more than `query.limit` where there are so many."""
    views: list[EventView] = []
    before_key = query.before_key
    is_wide = query.company_id is None and query.state is None
    looked_at_max = LOOKED_AT_MAX if is_wide else EACH_LOOKED_AT_MAX
    for _ in range(PARTS_MAX):
        part = await dashboard.storage.search_events(
            replace(query, before_key=before_key, containing=what.containing), looked_at_max
        )
        views += [view for view in part.events if what.holds(view)]
        before_key = part.next_before_key
        is_whole_page = len(part.events) == query.limit
        if len(views) >= query.limit or before_key is None or not is_whole_page:
            break
    if len(views) >= query.limit:
        shown = views[: query.limit - 1]
        return Found(shown, shown[-1].event.key, is_cut=False)
    return Found(views, before_key, is_cut=before_key is not None, looked_at_max=looked_at_max)
