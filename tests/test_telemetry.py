"""A signal is counted where an operator looks for it, with labels that cannot explode."""

import io
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hookline import __version__
from hookline.model import Answered, ErrorClass, Failed, Outcome, PayloadVersion, Timings
from hookline.storage.claims import Backlog, Claimed
from hookline.telemetry import Telemetry

AT = 1_795_420_800_000


class Stopped:
    """A clock that stands."""

    def wall_ms(self) -> int:
        return AT

    def schedule_ms(self) -> int:
        return AT

    def monotonic_seconds(self) -> float:
        return AT / 1000


def _read(telemetry: Telemetry) -> dict[str, float]:
    """Return every sample of ours by its name and labels, as a scraper reads them."""
    families = text_string_to_metric_families(telemetry.exposition().decode())
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("hookline_")
    }


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(clock=Stopped())


def _delivery(*, attempt: int = 1, accepted_at: int = AT) -> Claimed:
    return Claimed(
        losses=0,
        id=5,
        attempt=attempt,
        failures=0,
        subscription_id=7,
        subscription_revision=1,
        company_id=3,
        host="a:443",
        event_id="evt_1",
        event_type="note.created",
        type_name="note",
        payload_version=PayloadVersion.V1,
        source=None,
        occurred_at=0,
        accepted_at=accepted_at,
        data=b'{"secret":"body"}',
    )


def _answered(status: int, duration_ms: int = 12) -> Answered:
    return Answered(
        status=status, duration_ms=duration_ms, timings=Timings(), head=b"secret: head", body=b"secret body"
    )


def _failed(error: ErrorClass) -> Failed:
    return Failed(error=error, detail="https://secret.example", duration_ms=30_000, timings=Timings())


def _serve(telemetry: Telemetry, status: int, seconds: float = 0.002, route: str = "/v1/events") -> None:
    telemetry.request_served(method="POST", route=route, status=status, seconds=seconds, request_id="r1")


def test_two_processes_in_one_share_nothing(telemetry: Telemetry) -> None:
    _serve(Telemetry(clock=Stopped()), 202)
    assert not [name for name in _read(telemetry) if "route" in name]


def test_the_version_that_runs_is_told(telemetry: Telemetry) -> None:
    assert _read(telemetry)[f"hookline_build_info version={__version__}"] == 1


def test_requests_are_counted_by_route_and_class_of_status(telemetry: Telemetry) -> None:
    for status in (202, 200, 409, 503):
        _serve(telemetry, status)
    _serve(telemetry, 404, route="none")
    read = _read(telemetry)
    counted = {name: value for name, value in read.items() if name.startswith("hookline_http_requests_total")}
    assert counted == {
        "hookline_http_requests_total method=POST route=/v1/events status=2xx": 2,
        "hookline_http_requests_total method=POST route=/v1/events status=4xx": 1,
        "hookline_http_requests_total method=POST route=/v1/events status=5xx": 1,
        "hookline_http_requests_total method=POST route=none status=4xx": 1,
    }
    assert read["hookline_http_request_seconds_bucket le=0.001 method=POST route=/v1/events"] == 0
    assert read["hookline_http_request_seconds_bucket le=0.0025 method=POST route=/v1/events"] == 4


def test_events_and_their_deliveries_are_counted(telemetry: Telemetry) -> None:
    telemetry.published(events=1, deliveries=0)
    telemetry.published(events=2, deliveries=7)
    read = _read(telemetry)
    assert (read["hookline_events_published_total"], read["hookline_deliveries_created_total"]) == (3, 7)


@pytest.mark.parametrize(
    ("outcome", "label"),
    [
        (_answered(200), "succeeded"),
        (_answered(299), "succeeded"),
        (_answered(302), "status"),
        (_answered(500), "status"),
        *((_failed(error), error.value) for error in ErrorClass if error not in {ErrorClass.STATUS, ErrorClass.LOST}),
    ],
)
def test_attempts_are_counted_by_outcome(telemetry: Telemetry, outcome: Outcome, label: str) -> None:
    telemetry.attempt(_delivery(), outcome)
    read = _read(telemetry)
    counted = {name for name, value in read.items() if name.startswith("hookline_attempts_total") and value}
    assert counted == {f"hookline_attempts_total outcome={label}"}
    assert read[f"hookline_attempt_seconds_sum outcome={label}"] == outcome.duration_ms / 1000


def test_every_outcome_is_shown_from_the_start(telemetry: Telemetry) -> None:
    shown = {name for name in _read(telemetry) if name.startswith("hookline_attempts_total")}
    outcomes = {"succeeded", "timeout", "dns", "connect", "tls", "blocked", "protocol", "oauth", "status"}
    assert shown == {f"hookline_attempts_total outcome={each}" for each in outcomes}


def test_refused_addresses_are_counted_apart(telemetry: Telemetry) -> None:
    telemetry.attempt(_delivery(), _failed(ErrorClass.BLOCKED))
    telemetry.attempt(_delivery(), _failed(ErrorClass.CONNECT))
    assert _read(telemetry)["hookline_egress_refusals_total"] == 1


def test_the_wait_for_the_first_attempt_ends_where_it_starts(telemetry: Telemetry) -> None:
    telemetry.attempt(_delivery(accepted_at=AT - 512), _answered(200, duration_ms=500))
    telemetry.attempt(_delivery(attempt=2, accepted_at=AT - 90_000), _answered(200))
    read = _read(telemetry)
    assert read["hookline_first_attempt_wait_seconds_count"] == 1
    assert read["hookline_first_attempt_wait_seconds_sum"] == pytest.approx(0.012)


def test_the_wait_for_a_success_counts_from_the_acceptance_whatever_the_attempt(telemetry: Telemetry) -> None:
    telemetry.attempt(_delivery(accepted_at=AT - 512), _answered(200, duration_ms=500))
    telemetry.attempt(_delivery(attempt=3, accepted_at=AT - 70_000), _answered(204))
    telemetry.attempt(_delivery(attempt=2, accepted_at=AT - 9_000), _answered(500))
    read = _read(telemetry)
    assert read["hookline_success_wait_seconds_count"] == 2
    assert read["hookline_success_wait_seconds_sum"] == pytest.approx(70.512)


def test_connections_are_counted_when_they_are_asked_for(telemetry: Telemetry) -> None:
    kept = [1]
    telemetry.watch_connections("egress", "idle", lambda: len(kept))
    kept.append(2)
    assert _read(telemetry)["hookline_connections pool=egress state=idle"] == 2


def test_a_wall_clock_that_was_set_back_makes_no_negative_wait(telemetry: Telemetry) -> None:
    telemetry.attempt(_delivery(accepted_at=AT + 5_000), _answered(200))
    assert _read(telemetry)["hookline_first_attempt_wait_seconds_sum"] == 0


def test_what_went_wrong_with_attempts_is_counted(telemetry: Telemetry) -> None:
    telemetry.fenced(2)
    telemetry.lost(3, 1)
    telemetry.lost(1, 0)
    read = _read(telemetry)
    assert read["hookline_fenced_settlements_total"] == 2
    assert read["hookline_attempts_lost_total"] == 4
    assert read["hookline_deliveries_parked_total"] == 1


def test_the_backlog_is_the_last_one_measured(telemetry: Telemetry) -> None:
    telemetry.backlog(Backlog(open=9, oldest_due_ms=8_000), in_flight=7, unserved=1)
    telemetry.backlog(Backlog(open=5, oldest_due_ms=1_500), in_flight=2, unserved=3)
    read = _read(telemetry)
    assert read["hookline_deliveries_open"] == 5
    assert read["hookline_oldest_due_seconds"] == 1.5
    assert read["hookline_attempts_in_flight"] == 2
    assert read["hookline_subscriptions_unserved"] == 3


def test_commits_are_measured_by_the_size_of_their_group(telemetry: Telemetry) -> None:
    for size in (1, 3, 600):
        telemetry.committed(size)
    read = _read(telemetry)
    assert read["hookline_commit_group_size_bucket le=1.0"] == 1
    assert read["hookline_commit_group_size_bucket le=4.0"] == 2
    assert read["hookline_commit_group_size_count"] == 3


def test_a_stream_gets_one_line_per_request_and_attempt() -> None:
    stream = io.StringIO()
    telemetry = Telemetry(clock=Stopped(), stream=stream)
    _serve(telemetry, 202)
    telemetry.attempt(_delivery(), _answered(204))
    telemetry.attempt(_delivery(), _failed(ErrorClass.TLS))
    telemetry.lost(1, 0)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["signal"], line.get("httpStatus"), line.get("error")) for line in lines] == [
        ("request.served", None, None),
        ("attempt.ended", 204, None),
        ("attempt.ended", None, "tls"),
    ]


@pytest.mark.parametrize("is_development", [True, False])
def test_no_body_head_or_address_is_ever_told(*, is_development: bool) -> None:
    stream = io.StringIO()
    telemetry = Telemetry(clock=Stopped(), is_development=is_development, stream=stream)
    for outcome in (_answered(200), _answered(500), _failed(ErrorClass.DNS)):
        telemetry.attempt(_delivery(), outcome)
    assert stream.getvalue()
    assert "secret" not in stream.getvalue()
    assert b"secret" not in telemetry.exposition()


def test_no_series_is_doubled_by_the_moment_of_its_birth(telemetry: Telemetry) -> None:
    _serve(telemetry, 202)
    assert b"_created" not in telemetry.exposition().replace(b"deliveries_created_total", b"")
