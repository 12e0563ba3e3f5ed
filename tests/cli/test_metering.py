from hookline.cli.metering import quantile, read

BEFORE = """\
# HELP hookline_attempts_total Attempts ended, by outcome.
# TYPE hookline_attempts_total counter
hookline_attempts_total{outcome="succeeded"} 10.0
hookline_attempts_total{outcome="timeout"} 1.0
hookline_deliveries_open 3.0
process_open_fds 12.0
hookline_wait_seconds_bucket{le="0.1"} 5.0
hookline_wait_seconds_bucket{le="1.0"} 5.0
hookline_wait_seconds_bucket{le="+Inf"} 5.0
"""
AFTER = """\
hookline_wait_seconds_bucket{le="0.1"} 5.0
hookline_wait_seconds_bucket{le="1.0"} 14.0
hookline_wait_seconds_bucket{le="+Inf"} 15.0
"""


def test_samples_are_summed_over_the_labels_that_were_not_asked_for() -> None:
    reading = read(BEFORE)

    assert reading.of("hookline_attempts_total") == 11
    assert reading.of("hookline_attempts_total", outcome="timeout") == 1
    assert reading.of("hookline_deliveries_open") == 3
    assert reading.of("hookline_none") == 0


def test_quantiles_are_of_what_came_between_two_readings() -> None:
    before, after = read(BEFORE), read(AFTER)

    assert quantile(before, after, "hookline_wait_seconds", 0.5) == 1
    assert quantile(before, after, "hookline_wait_seconds", 0.99) == float("inf")
    assert quantile(after, after, "hookline_wait_seconds", 0.5) is None
