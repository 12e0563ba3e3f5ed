"""In which time zone a page tells its times: that of the cookie, UTC where there is none.

It belongs to a request as its language would, and every leaf that writes an instant needs it: so it stands in the
request's context, set once when it comes, and nobody hands it on. Each request runs in a context of its own.
"""

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from hookline.clock import milliseconds

COOKIE: Final = "zone"
UTC_NAME: Final = "UTC"
REGIONS: Final = frozenset(
    {"Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"}
)
"""Of the names that people look for themselves under; the others are older spellings and abbreviations."""
_NAME: Final = re.compile(r"[A-Za-z0-9_+/-]{1,64}", re.ASCII)
_current: Final[ContextVar[tzinfo]] = ContextVar("zone", default=UTC)


def use(cookies: Mapping[str, str]) -> None:
    """Tell times as the visitor wants them from here on, in this request."""
    _current.set(_zone_of(cookies.get(COOKIE, UTC_NAME)))


def current() -> tzinfo:
    """Return the zone of this request."""
    return _current.get()


def name() -> str:
    """Return its name: `UTC`, `Europe/Berlin`."""
    zone = _current.get()
    return zone.key if isinstance(zone, ZoneInfo) else UTC_NAME


@cache
def offered() -> Mapping[str, Sequence[str]]:
    """Return the names that this machine knows, by region; nothing where it has no data of zones."""
    by_region: dict[str, list[str]] = {}
    for each in sorted(available_timezones()):
        region = each.partition("/")[0]
        if region in REGIONS:
            by_region.setdefault(region, []).append(each)
    return by_region


def is_offered(text: str) -> bool:
    """Tell whether a visitor may choose this."""
    return text == UTC_NAME or text in offered().get(text.partition("/")[0], ())


def read_field(text: str) -> int:
    """Read what a field of date and time says, in the visitor's zone unless it names an offset; raise `ValueError`."""
    moment = datetime.fromisoformat(text)
    return milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=current()))


def _zone_of(text: str) -> tzinfo:
    if text == UTC_NAME or not _NAME.fullmatch(text):
        return UTC
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # unknown here, or a file beside the zones that is none
        return UTC
