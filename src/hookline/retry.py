"""How long a failed delivery waits. Pure: randomness is an argument."""

from collections.abc import Sequence
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
