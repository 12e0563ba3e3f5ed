"""Twenty failures in a row over a minute open the circuit; a success closes it; days of failures end it."""

import pytest

from hookline import circuit
from hookline.circuit import HEALTHY, Change, Health, Rules, after

NOW = 1_767_268_800_000
MINUTE_MS = 60_000


def _failing(failures: int, since: int, probe_at: int | None = None) -> Health:
    return Health(failures, since, probe_at)


@pytest.mark.parametrize(
    ("before", "since_ms", "opens"),
    [
        (_failing(19, NOW - MINUTE_MS), MINUTE_MS, True),
        (_failing(18, NOW - MINUTE_MS), MINUTE_MS, False),
        (_failing(19, NOW - MINUTE_MS + 1), MINUTE_MS - 1, False),
        (_failing(500, NOW - MINUTE_MS + 1), MINUTE_MS - 1, False),
    ],
)
def test_it_opens_at_twenty_failures_that_span_a_minute(before: Health, since_ms: int, opens: bool) -> None:  # noqa: FBT001
    health, change = after(before, [False], NOW, Rules())
    assert health.failing_since == NOW - since_ms
    assert (health.probe_at, change) == ((NOW + circuit.PROBE_MS, Change.FAILING) if opens else (None, None))


def test_a_success_closes_it_and_counts_from_nothing_again() -> None:
    health, change = after(_failing(40, NOW - MINUTE_MS, NOW), [True], NOW, Rules())
    assert (health, change) == (HEALTHY, Change.RECOVERED)
    health, change = after(_failing(19, NOW - MINUTE_MS), [True, False], NOW, Rules())
    assert (health, change) == (_failing(1, NOW), None)


@pytest.mark.parametrize("rules", [Rules(), Rules(is_on=False)])
def test_a_recovery_is_told_however_many_attempts_end_with_it(rules: Rules) -> None:
    failing = _failing(40, NOW - MINUTE_MS, NOW if rules.is_on else None)
    assert after(failing, [True, True], NOW, rules) == (HEALTHY, Change.RECOVERED)
    assert after(failing, [False, True, True, False, True], NOW, rules) == (HEALTHY, Change.RECOVERED)


def test_a_probe_that_fails_leaves_it_open_and_tells_nothing_twice() -> None:
    health, change = after(_failing(40, NOW - MINUTE_MS, NOW + 1), [False], NOW, Rules())
    assert (health.probe_at, change) == (NOW + 1, None)


def test_days_of_failures_ask_for_the_end_and_begin_anew() -> None:
    rules = Rules(deactivate_after_ms=circuit.DAY_MS)
    assert after(_failing(3, NOW - circuit.DAY_MS), [False], NOW, rules) == (HEALTHY, Change.DEACTIVATED)
    assert after(_failing(3, NOW - circuit.DAY_MS + 1), [False], NOW, rules)[1] is None
    assert after(_failing(3, 0), [False], NOW, Rules(is_on=False, deactivate_after_ms=None))[1] is None


def test_switched_off_it_warns_once_and_never_opens() -> None:
    rules = Rules(is_on=False)
    health, change = after(_failing(19, NOW - 1), [False], NOW, rules)
    assert (health.probe_at, change) == (None, Change.FAILING)
    assert after(health, [False], NOW, rules)[1] is None
    assert after(health, [True], NOW, rules) == (HEALTHY, Change.RECOVERED)
