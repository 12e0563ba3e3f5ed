"""Due times never run early, whatever is done to the wall clock."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.clock import DRIFT_SHARE_MAX, SystemClock, calendars, milliseconds, rfc3339

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
START_MS = 1_795_420_800_000


class Machine:
    """The two clocks of a machine, set by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.wall_ms = START_MS
        self.boot_ms = 5_000
        self.between: Callable[[], None] = lambda: None
        patch.setattr(time, "time_ns", self._wall_ns)
        patch.setattr(time, "clock_gettime_ns", lambda which: {time.CLOCK_BOOTTIME: self.boot_ms * 1_000_000}[which])

    def _wall_ns(self) -> int:
        self.between()
        return self.wall_ms * 1_000_000

    def pass_ms(self, span: int) -> None:
        self.wall_ms += span
        self.boot_ms += span


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_the_schedule_starts_at_the_wall_clock_and_goes_with_it(machine: Machine) -> None:
    clock = SystemClock()
    assert clock.schedule_ms() == clock.wall_ms() == START_MS
    machine.pass_ms(1_234)
    assert clock.schedule_ms() == clock.wall_ms() == START_MS + 1_234


@pytest.mark.parametrize("jump_ms", [-3_600_000, -1, 1, 3_600_000, 10**12, -(10**12)])
def test_a_jump_of_the_wall_clock_moves_the_schedule_by_one_percent_at_most(machine: Machine, jump_ms: int) -> None:
    clock = SystemClock()
    machine.wall_ms += jump_ms
    assert clock.wall_ms() == START_MS + jump_ms
    assert clock.schedule_ms() == START_MS
    for _ in range(10):
        before = clock.schedule_ms()
        machine.pass_ms(1_000)
        passed = clock.schedule_ms() - before
        assert 1_000 * (1 - DRIFT_SHARE_MAX) - 1 <= passed <= 1_000 * (1 + DRIFT_SHARE_MAX) + 1


def test_the_schedule_comes_back_to_the_wall_clock(machine: Machine) -> None:
    clock = SystemClock()
    machine.wall_ms += 1_000
    for _ in range(101):
        machine.pass_ms(1_000)
        clock.schedule_ms()
    assert clock.schedule_ms() == clock.wall_ms()


@pytest.mark.parametrize(("between_ms", "wall_ahead"), [(0, 0), (1, 0), (2, 2)])
def test_both_calendars_of_one_moment_are_one_number_unless_they_are_apart(
    machine: Machine, between_ms: int, wall_ahead: int
) -> None:
    clock = SystemClock()
    machine.wall_ms += between_ms
    schedule, wall = calendars(clock)
    assert (schedule, wall) == (START_MS, START_MS + wall_ahead)


def test_time_asleep_counts(machine: Machine) -> None:
    clock = SystemClock()
    machine.pass_ms(8 * 3_600_000)
    assert clock.schedule_ms() == START_MS + 8 * 3_600_000


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(-(10**9), 10**9)), max_size=20))
def test_the_schedule_never_goes_back_and_never_runs_ahead(steps: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(patch)
        clock = SystemClock()
        before, passed = clock.schedule_ms(), 0
        for span_ms, jump_ms in steps:
            machine.pass_ms(span_ms)
            machine.wall_ms += jump_ms
            passed += span_ms
            now = clock.schedule_ms()
            assert before <= now <= START_MS + passed * (1 + DRIFT_SHARE_MAX)
            before = now


def test_threads_that_read_at_once_count_no_span_twice(machine: Machine) -> None:
    clock = SystemClock()
    second = threading.Thread(target=clock.schedule_ms)

    def let_another_in() -> None:
        machine.between = lambda: None
        second.start()
        second.join(timeout=0.05)  # it ends at once where nothing keeps it out, and only after us where it is kept out

    machine.pass_ms(1_000)
    machine.between = let_another_in
    clock.schedule_ms()
    second.join()
    assert clock.schedule_ms() == START_MS + 1_000


def test_the_machine_s_own_clocks_are_read() -> None:
    clock = SystemClock()
    assert abs(clock.wall_ms() - time.time() * 1000) < 1_000
    assert abs(clock.monotonic_seconds() - time.monotonic()) < 1


@pytest.mark.parametrize(
    ("instant_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (START_MS, "2026-11-23T08:00:00.000Z"),
        (START_MS + 7, "2026-11-23T08:00:00.007Z"),
        (951_782_400_999, "2000-02-29T00:00:00.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_instants_are_shown_in_utc_with_milliseconds(instant_ms: int, text: str) -> None:
    assert rfc3339(instant_ms) == text


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_an_instant_reads_back_as_itself(instant_ms: int) -> None:
    read = datetime.fromisoformat(rfc3339(instant_ms))
    assert (read - EPOCH) // timedelta(milliseconds=1) == instant_ms
    assert read <= LAST


@given(st.integers(0, 253_402_300_799_999), st.integers(-14 * 60, 14 * 60))
def test_what_is_shown_is_understood_in_any_zone(instant_ms: int, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    moment = datetime.fromisoformat(rfc3339(instant_ms))
    assert milliseconds(moment) == instant_ms
    if EPOCH + timedelta(days=1) < moment < LAST - timedelta(days=1):
        assert milliseconds(moment.astimezone(zone)) == instant_ms


@pytest.mark.parametrize(
    "text",
    ["1969-12-31T23:59:59.999Z", "1970-01-01T00:59:59+01:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"],
)
def test_instants_outside_1970_to_9999_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1970 to 9999"):
        milliseconds(datetime.fromisoformat(text))
