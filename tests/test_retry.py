"""A retry never starts earlier than documented, nor later than a fifth after."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.retry import (
    HOLD_MS_MAX,
    JITTER_SHARE_MAX,
    PRESETS,
    RETRIES_MAX,
    WAIT_SECONDS_MAX,
    hold_ms,
    next_wait_ms,
    schedule_seconds,
)

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def test_the_presets_are_those_of_the_contract() -> None:
    assert PRESETS == {
        "standard": (10, 60, 300),
        "capped": (10, 60, 300, 300),
        "hourly": (3600, 3600),
        "days": (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
    }
    for waits in PRESETS.values():
        assert len(waits) <= RETRIES_MAX
        assert all(1 <= wait <= WAIT_SECONDS_MAX for wait in waits)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, (7, 8)),
        ("standard", (10, 60, 300)),
        ("hourly", (3600, 3600)),
        ((1, 2), (1, 2)),
        ([1, 2], (1, 2)),
        ((), ()),
    ],
)
def test_the_default_counts_only_where_nothing_is_asked(
    policy: Sequence[int] | str | None, expected: tuple[int, ...]
) -> None:
    assert schedule_seconds(policy, [7, 8]) == expected


def test_a_standard_delivery_has_three_retries() -> None:
    waits = [next_wait_ms(PRESETS["standard"], failures, 0.0) for failures in range(5)]
    assert waits == [10_000, 60_000, 300_000, None, None]


def test_an_empty_schedule_has_no_retry() -> None:
    assert next_wait_ms((), 0, 0.5) is None


@given(
    st.lists(st.integers(1, WAIT_SECONDS_MAX), min_size=1, max_size=RETRIES_MAX),
    st.integers(0, RETRIES_MAX),
    st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_never_shorter_and_at_most_a_fifth_longer(
    schedule: list[int], failures: int, fraction: float
) -> None:
    wait_ms = next_wait_ms(schedule, failures, fraction)
    if failures >= len(schedule):
        assert wait_ms is None
    else:
        assert wait_ms is not None
        assert schedule[failures] * 1000 <= wait_ms <= schedule[failures] * 1000 * (1 + JITTER_SHARE_MAX)


# --- Retry-After -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["UTC", "America/Los_Angeles"])
def machine_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("machine_zone")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120_000),
        (" 120 ", 120_000),
        ("1", 1_000),
        ("86400", HOLD_MS_MAX),
        ("86401", HOLD_MS_MAX),
        ("9" * 5_000, HOLD_MS_MAX),
        ("Mon, 23 Nov 2026 08:00:30 GMT", 30_000),
        ("Monday, 23-Nov-26 08:00:30 GMT", 30_000),
        ("Mon Nov 23 08:00:30 2026", 30_000),
        ("Mon, 23 Nov 2026 08:00:30 -0000", 30_000),
        ("Mon, 23 Nov 2026 09:00:30 +0100", 30_000),
        ("Wed, 25 Nov 2026 08:00:00 GMT", HOLD_MS_MAX),
        ("Fri, 31 Dec 9999 23:59:59 GMT", HOLD_MS_MAX),
        ("Mon, 23 Nov 2026 08:00:00 GMT", None),
        ("Mon, 23 Nov 2026 07:59:59 GMT", None),
        ("0", None),
        ("-5", None),
        ("+5", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("²", None),
        ("", None),
        ("soon", None),
        ("Mon, 99 Nov 2026 08:00:00 GMT", None),
        ("Mon, 23 Nov 2026 08:00:00 +9999", None),
        (None, None),
    ],
)
def test_what_a_receiver_asks_for_is_understood_or_ignored(value: str | None, expected: int | None) -> None:
    assert hold_ms(503, value, NOW_MS) == hold_ms(429, value, NOW_MS) == expected


@pytest.mark.parametrize("status", [200, 301, 400, 408, 428, 430, 500, 502, 504])
def test_other_statuses_ask_for_nothing(status: int) -> None:
    assert hold_ms(status, "120", NOW_MS) is None


@given(st.text(max_size=40) | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [+-]?\w*", fullmatch=True))
def test_no_header_can_raise_or_ask_for_more_than_a_day(value: str) -> None:
    asked = hold_ms(503, value, NOW_MS)
    assert asked is None or 0 < asked <= HOLD_MS_MAX


@given(st.integers(1, 86_400), st.integers(-14, 14))
def test_a_date_is_counted_from_now_in_any_zone(seconds: int, hours: int) -> None:
    at = (NOW + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=hours)))
    assert hold_ms(503, format_datetime(at), NOW_MS) == seconds * 1000
