"""Our counters and histograms read, at a scrape, exactly as the library's own do."""

import pytest
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client import Counter as TheirCounter
from prometheus_client import Histogram as TheirHistogram

from hookline.counting import Counter, Histogram

BUCKETS = (0.001, 0.25, 1, 30, 86400)


@pytest.fixture(autouse=True)
def without_created() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]


def test_a_counter_reads_as_the_librarys() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Counter("x_total", "A text.", ["a", "b"], registry=ours)
    other = TheirCounter("x_total", "A text.", ["a", "b"], registry=theirs)
    for values, number in ((("1", 'q"\n'), 1), (("0", "z"), 41), (("1", 'q"\n'), 2)):
        mine.labels(*values).inc(number)
        other.labels(*values).inc(number)
    assert sorted(generate_latest(ours).splitlines()) == sorted(generate_latest(theirs).splitlines())


@pytest.mark.parametrize("labels", [(), ("route",)])
def test_a_histogram_reads_as_the_librarys(labels: tuple[str, ...]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Histogram("y_seconds", "A text.", labels, buckets=BUCKETS, registry=ours)
    other = TheirHistogram("y_seconds", "A text.", labels, buckets=BUCKETS, registry=theirs)
    for value in (0, 0.001, 0.0010001, 0.25, 29, 30, 86400, 1e9):
        mine.labels(*labels).observe(value)
        (other.labels(*labels) if labels else other).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


@pytest.mark.parametrize("kind", [Counter, Histogram])
def test_what_was_never_asked_for_has_a_name_and_no_sample(kind: type[Counter] | type[Histogram]) -> None:
    registry = CollectorRegistry()
    more = {"buckets": BUCKETS} if kind is Histogram else {}
    kind("z_total", "A text.", ["a"], registry=registry, **more)
    assert all(line.startswith(b"#") for line in generate_latest(registry).splitlines())


def test_one_child_is_given_out_for_the_same_values() -> None:
    counter = Counter("x_total", "A text.", ["a"], registry=CollectorRegistry())
    assert counter.labels("1") is counter.labels("1")
    assert counter.labels("1") is not counter.labels("2")
