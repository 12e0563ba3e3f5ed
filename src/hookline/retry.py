"""How long a failed delivery waits. Pure: randomness is an argument."""

from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

PRESETS: Final[dict[str, tuple[int, ...]]] = {
    "standard": (10, 60, 300),
    "capped": (10, 60, 300, 300),
    "hourly": (3600, 3600),
    "days": (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
}
"""Schedules by name, in seconds before each retry."""

RETRIES_MAX: Final = 20
WAIT_SECONDS_MAX: Final = 86_400
JITTER_SHARE_MAX: Final = 0.2
"""Only ever added: a retry never starts earlier than documented. A fifth spreads a mass failure over a usable span."""


def schedule_seconds(policy: Sequence[int] | str | None, default: Sequence[int]) -> tuple[int, ...]:
    """Return the waits that a subscription's policy asks for; `default` where it asks for nothing."""
    if policy is None:
        return tuple(default)
    return PRESETS[policy] if isinstance(policy, str) else tuple(policy)


def next_wait_ms(schedule: Sequence[int], failures: int, fraction: float) -> int | None:
    """Return the wait before the next attempt in milliseconds, None where no retry is left.

    `failures` counts the settled failed attempts of this round before the one being judged; `fraction` in [0, 1)
    picks the jitter.
    """
    if failures >= len(schedule):
        return None
    return int(schedule[failures] * 1000 * (1 + JITTER_SHARE_MAX * fraction))


HOLD_MS_MAX: Final = 86_400_000
"""A receiver may ask for a day's rest at most: longer would be a way to switch itself off unseen."""


def hold_ms(status: int, retry_after: str | None, wall_ms: int) -> int | None:
    """Return how long a 429 or 503 asks us to leave its subscription alone; None where it asks for nothing.

    `retry_after` is the header as sent, seconds or an HTTP date (RFC 9110, section 10.2.3); anything else is ignored.
    """
    if status not in {429, 503} or retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        asked = int(text[:12]) * 1000
    else:
        try:
            date = parsedate_to_datetime(text)
            # Without a zone (the obsolete asctime form, or `-0000`) it is UTC, never this machine's own time.
            asked = int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000) - wall_ms
        except (ValueError, OverflowError):
            return None
    return min(asked, HOLD_MS_MAX) if asked > 0 else None
