"""Who fails or asks too often waits until there is room again, and nobody is remembered without bound."""

import pytest

from hookline.throttling import Failures, Rates


def failing(*instants: float) -> Failures:
    failures = Failures(3, 60)
    for instant in instants:
        failures.note("a", instant)
    return failures


def test_as_many_failures_as_are_borne_and_then_a_wait() -> None:
    assert failing().wait_seconds("a", 0) == 0
    assert failing(0, 10).wait_seconds("a", 10) == 0
    assert failing(0, 10, 20).wait_seconds("a", 20) == 40
    assert failing(0, 10, 20).wait_seconds("a", 59.5) == 1
    assert failing(0, 10, 20).wait_seconds("a", 60) == 0


def test_the_window_slides() -> None:
    failures = failing(0, 10, 20, 60)
    assert failures.wait_seconds("a", 60) == 10
    assert failures.wait_seconds("a", 70) == 0


def test_keys_do_not_touch_each_other() -> None:
    assert failing(0, 0, 0).wait_seconds("b", 0) == 0


def test_of_too_many_keys_the_one_that_failed_longest_ago_is_forgotten() -> None:
    failures = Failures(1, 60, keys_max=3)
    for instant, key in enumerate("abcad"):
        failures.note(key, instant)
    assert [key for key in "abcd" if failures.wait_seconds(key, 5)] == ["a", "c", "d"]


# --- rates -----------------------------------------------------------------------------------------------------------


def test_a_seconds_worth_may_come_at_once_and_then_they_come_evenly() -> None:
    rates = Rates(4)
    assert [rates.take("a", 100.0) for _ in range(4)] == [0] * 4
    assert rates.take("a", 100.0) == pytest.approx(0.25)
    assert rates.take("a", 100.1) == pytest.approx(0.15), "who is refused takes no turn"
    assert [bool(rates.take("a", 100.25)) for _ in range(2)] == [False, True]
    assert [bool(rates.take("a", 105.0)) for _ in range(5)] == [False] * 4 + [True]
    assert rates.take("b", 105.0) == 0


def test_several_turns_at_once_are_waited_for_afterwards() -> None:
    rates = Rates(4)
    assert rates.take("a", 100.0, count=12) == 0
    assert rates.wait_seconds("a", 100.0) == rates.take("a", 100.0) == pytest.approx(2.25)
    assert [bool(rates.take("a", 102.25)) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("per_second", [1, 3, 7, 1000])
def test_over_a_long_time_the_rate_is_what_it_says(per_second: int) -> None:
    rates = Rates(per_second)
    taken = sum(not rates.take("a", tick / (per_second * 3)) for tick in range(per_second * 3 * 20))
    assert taken == per_second * 21 - 1


def test_of_too_many_keys_that_ask_the_one_that_was_quiet_longest_is_forgotten() -> None:
    rates = Rates(1, keys_max=2)
    assert [rates.take(key, 0) for key in "abc"] == [0, 0, 0]
    assert (bool(rates.take("c", 0)), rates.take("a", 0)) == (True, 0)
