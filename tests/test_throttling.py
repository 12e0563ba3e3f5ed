"""Who fails too often waits until the window has room again, and nobody is remembered without bound."""

from hookline.throttling import Failures


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
