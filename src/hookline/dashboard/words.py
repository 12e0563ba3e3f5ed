"""How numbers and instants read to a person. Pure but for the time zone, which the request carries.

Units follow a no-break space. Instants are in the visitor's zone, and the heading above them says which; a date stands
where it is not today's.
"""

from datetime import UTC, datetime
from typing import Final

from hookline.clock import rfc3339
from hookline.dashboard import zones

SPACE: Final = "\u00a0"
SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
KIB: Final = 1_024
_ORDINALS: Final = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def span(milliseconds: int) -> str:
    """Say a span: `184 ms`, `1.2 s`, `30 s`, `1 m 08 s`, `3 h 12 m`, `2 d 4 h`."""
    ms = max(0, milliseconds)
    if ms < SECOND_MS:
        return f"{ms}{SPACE}ms"
    if ms < MINUTE_MS:
        tenths = ms // 100
        return f"{tenths // 10}{SPACE}s" if tenths % 10 == 0 or ms >= 10_000 else f"{tenths / 10:.1f}{SPACE}s"
    seconds = ms // SECOND_MS
    if ms < HOUR_MS:
        return _two(seconds // 60, "m", seconds % 60, "s")
    if ms < DAY_MS:
        return _two(seconds // 3_600, "h", seconds // 60 % 60, "m")
    return f"{seconds // 86_400}{SPACE}d{SPACE}{seconds // 3_600 % 24}{SPACE}h"


def round_span(milliseconds: int) -> str:
    """Say a span that is a whole number of one unit: `100 ms`, `10 s`, `1 m`, `10 h`."""
    units = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s"), (1, "ms"))
    size, unit = next(each for each in units if milliseconds >= each[0])
    return f"{milliseconds // size}{SPACE}{unit}"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{SPACE}{unit}{SPACE}{small:02d}{SPACE}{small_unit}"


def wait(seconds: int) -> str:
    """Say a wait of a schedule: `10 s`, `5 m`, `1 h`, `1 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0 and seconds > 60:
            return f"{seconds // size}{SPACE}{unit}"
    return f"{seconds}{SPACE}s"


def instant(instant: int, now: int) -> str:
    """Say an instant to the millisecond, with its date where that is not today's."""
    moment, today = _moment(instant), _moment(now)
    clock = _clock(moment)
    return clock if moment.date() == today.date() else f"{date(instant)}, {clock}"


def minute(instant: int, now: int) -> str:
    """Say an instant to the minute, with its date where that is not today's."""
    moment, today = _moment(instant), _moment(now)
    clock = f"{moment:%H:%M}"
    return clock if moment.date() == today.date() else f"{date(instant)}, {clock}"


def date(instant: int) -> str:
    """Say a day: `24 Nov 2026`."""
    moment = _moment(instant)
    return f"{moment.day}{SPACE}{moment:%b %Y}"


def full(instant: int) -> str:
    """Say an instant whole: `24 Nov 2026, 03:04:10.412 UTC`, elsewhere with its offset behind: `UTC+01:00`."""
    moment = _moment(instant)
    offset = "" if moment.tzinfo is UTC else moment.isoformat()[-6:]
    return f"{date(instant)}, {_clock(moment)} UTC{offset}"


def zone() -> str:
    """Name the zone of the times on this page: `UTC`, `Europe/Berlin`."""
    return zones.name()


def place() -> str:
    """Name it in the heading of a column: `UTC`, `Berlin`."""
    return zones.name().rpartition("/")[2].replace("_", " ")


def field(instant: int) -> str:
    """Write an instant for a field of date and time."""
    return f"{_moment(instant):%Y-%m-%dT%H:%M}"


def iso(instant: int) -> str:
    """Write an instant for programs."""
    return rfc3339(instant)


def number(count: int) -> str:
    """Write a count with its thousands apart."""
    return f"{count:,}"


def at_most(count: int, counted_max: int) -> str:
    """Write a count that was not taken further than to `counted_max`: `10,000+`."""
    return f"{count:,}{'+' if count >= counted_max else ''}"


def size(count: int) -> str:
    """Say a size: `184 bytes`, `41 KiB`."""
    if count == 1:
        return f"1{SPACE}byte"
    return f"{count:,}{SPACE}bytes" if count < 10 * KIB else f"{count // KIB:,}{SPACE}KiB"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Say how many of something: `1 attempt`, `2 attempts`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def ordinal(count: int) -> str:
    """Say which one: `third`, later `11th`."""
    if count < len(_ORDINALS):
        return _ORDINALS[count]
    suffix = "th" if count % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count}{suffix}"


def listed(parts: list[str]) -> str:
    """Join with commas, and the last with `and`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def _moment(instant: int) -> datetime:
    moment = datetime.fromtimestamp(instant / 1000, UTC)
    try:
        return moment.astimezone(zones.current())
    except OverflowError:  # at the ends of the calendar
        return moment


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
