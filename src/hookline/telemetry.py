"""What the program tells of itself: a signal gives a metric and, for requests and attempts, one log line.

Signals are few and fixed, labels have few values, and none ever holds a secret, a body, a signature or a URL. A signal
never raises; measured on the path of a delivery: 1 µs for the metrics of an attempt, 1.5 µs more for its line.
"""

from collections.abc import Callable
from typing import Final, TextIO

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    generate_latest,
)

from hookline import __version__
from hookline.clock import Clock
from hookline.counting import Count, Counter, Histogram, Spread
from hookline.lifecycle import succeeded
from hookline.logs import AttemptLine, Lines, RequestLine
from hookline.model import Answered, ErrorClass, Failed, Outcome
from hookline.storage.claims import Backlog, Claimed

SUCCEEDED: Final = "succeeded"

_REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_ATTEMPT_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FIRST_ATTEMPT_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300, 3600)
_SUCCESS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 75, 400, 3600, 86400)
"""The last four: after the first, second and third of the default retries, with their jitter; within a day."""
_GROUP_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Telemetry:
    """The signals of one process. Without a `stream` nothing is logged; metrics are always kept."""

    def __init__(self, *, clock: Clock, is_development: bool = False, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._lines = Lines(stream, clock, is_development=is_development) if stream else None
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("hookline_build_info", "The version that runs; always 1.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        self._requests = Counter(
            "hookline_http_requests_total", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "hookline_http_request_seconds",
            "From a request's head to the last byte of its answer.",
            ["method", "route"],
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._requests_of: dict[tuple[str, str, int], tuple[Count, Spread]] = {}
        self._events = Counter(
            "hookline_events_published_total",
            "Events answered as durable, repeated publishes included.",
            registry=registry,
        ).labels()
        self._deliveries = Counter(
            "hookline_deliveries_created_total", "Deliveries of the events answered as durable.", registry=registry
        ).labels()
        attempts = Counter("hookline_attempts_total", "Attempts ended, by outcome.", ["outcome"], registry=registry)
        attempt_seconds = Histogram(
            "hookline_attempt_seconds",
            "From the start of an attempt to the response head or the failure.",
            ["outcome"],
            buckets=_ATTEMPT_SECONDS,
            registry=registry,
        )
        self._attempts_of = {
            outcome: (attempts.labels(outcome), attempt_seconds.labels(outcome))
            for outcome in (SUCCEEDED, *(each.value for each in ErrorClass if each is not ErrorClass.LOST))
        }
        self._first_attempt_seconds = Histogram(
            "hookline_first_attempt_wait_seconds",
            "From the acceptance of an event to the start of a delivery's first attempt.",
            buckets=_FIRST_ATTEMPT_SECONDS,
            registry=registry,
        ).labels()
        self._success_seconds = Histogram(
            "hookline_success_wait_seconds",
            "From the acceptance of an event to the success of a delivery; whatever happened between.",
            buckets=_SUCCESS_SECONDS,
            registry=registry,
        ).labels()
        self._refusals = Counter(
            "hookline_egress_refusals_total", "Attempts not made, their address being refused.", registry=registry
        ).labels()
        self._fenced = Counter(
            "hookline_fenced_settlements_total",
            "Settlements that changed nothing, as another attempt had begun: each one may be a repeated delivery.",
            registry=registry,
        ).labels()
        self._lost = Counter(
            "hookline_attempts_lost_total", "Attempts whose lease passed without a report.", registry=registry
        ).labels()
        self._parked = Counter(
            "hookline_deliveries_parked_total",
            "Deliveries ended for attempts lost in a row, or for being unreadable.",
            registry=registry,
        ).labels()
        self._open = Gauge(
            "hookline_deliveries_open", "Deliveries that wait or are sent, exact up to 100,000.", registry=registry
        )
        self._oldest_due = Gauge(
            "hookline_oldest_due_seconds", "For how long the longest due delivery has waited.", registry=registry
        )
        self._in_flight = Gauge("hookline_attempts_in_flight", "Attempts of this node in flight.", registry=registry)
        self._unserved = Gauge(
            "hookline_subscriptions_unserved",
            "Subscriptions whose deliveries wait because this node cannot read what is stored of them.",
            registry=registry,
        )
        self._group_size = Histogram(
            "hookline_commit_group_size", "Requests that shared a commit.", buckets=_GROUP_SIZES, registry=registry
        ).labels()

        self._connections = Gauge(
            "hookline_connections",
            "Connections of this node at this moment.",
            ["pool", "state"],
            registry=registry,
        )

    def watch_connections(self, pool: str, state: str, count: Callable[[], int]) -> None:
        """Ask `count` at each scrape how many connections of a pool are in a state."""
        self._connections.labels(pool, state).set_function(count)

    def exposition(self) -> bytes:
        """Render all metrics in the Prometheus text format 0.0.4."""
        return generate_latest(self._registry)

    # the API

    def request_served(self, *, method: str, route: str, status: int, seconds: float, request_id: str) -> None:
        """Note an answered request; `route` is a pattern of ours or `none`, never a path."""
        count, duration = self._requests_of.get((method, route, status)) or self._new_request(method, route, status)
        count.inc()
        duration.observe(seconds)
        if self._lines:
            self._lines.write(
                RequestLine(
                    at=self._lines.now(),
                    request_id=request_id,
                    method=method,
                    route=route,
                    status=status,
                    duration_ms=round(seconds * 1000, 1),
                )
            )

    def _new_request(self, method: str, route: str, status: int) -> tuple[Count, Spread]:
        pair = (
            self._requests.labels(method, route, f"{status // 100}xx"),
            self._request_seconds.labels(method, route),
        )
        self._requests_of[method, route, status] = pair
        return pair

    def published(self, *, events: int, deliveries: int) -> None:
        """Note events answered as durable, and their deliveries; a publish that is repeated counts again."""
        self._events.inc(events)
        self._deliveries.inc(deliveries)

    # the engine

    def attempt(self, delivery: Claimed, outcome: Outcome) -> None:
        """Note the end of an attempt, before it is settled."""
        status, error = _result(outcome)
        count, duration = self._attempts_of[error or SUCCEEDED]
        count.inc()
        duration.observe(outcome.duration_ms / 1000)
        if error is ErrorClass.BLOCKED:
            self._refusals.inc()
        if delivery.attempt == 1 or error is None:
            waited_ms = self._clock.wall_ms() - delivery.accepted_at
            if delivery.attempt == 1:
                self._first_attempt_seconds.observe(max(0, waited_ms - outcome.duration_ms) / 1000)
            if error is None:
                self._success_seconds.observe(max(0, waited_ms) / 1000)
        if self._lines:
            self._lines.write(
                AttemptLine(
                    at=self._lines.now(),
                    delivery_id=delivery.id,
                    attempt=delivery.attempt,
                    event_id=delivery.event_id,
                    event_type=delivery.event_type,
                    subscription_id=delivery.subscription_id,
                    company_id=delivery.company_id,
                    http_status=status,
                    error=error,
                    duration_ms=outcome.duration_ms,
                )
            )

    def fenced(self, count: int) -> None:
        """Note settlements that were refused, as their attempt was no longer the current one."""
        self._fenced.inc(count)

    def lost(self, lost: int, parked: int) -> None:
        """Note attempts lost with the process that made them, and how many deliveries ended by that."""
        self._lost.inc(lost)
        self._parked.inc(parked)

    def unreadable(self, deliveries: int) -> None:
        """Note deliveries that ended because no attempt could be made of what is stored of them."""
        self._parked.inc(deliveries)

    def backlog(self, backlog: Backlog, *, in_flight: int, unserved: int) -> None:
        """Note what waits, in the database and on this node, and the subscriptions that this node cannot serve."""
        self._open.set(backlog.open)
        self._oldest_due.set(backlog.oldest_due_ms / 1000)
        self._in_flight.set(in_flight)
        self._unserved.set(unserved)

    # the database

    def committed(self, requests: int) -> None:
        """Note how many requests shared one commit. May be called from any thread."""
        self._group_size.observe(requests)


def _result(outcome: Outcome) -> tuple[int | None, ErrorClass | None]:
    """Return status and error class as the delivery log has them."""
    match outcome:
        case Answered():
            return outcome.status, None if succeeded(outcome) else ErrorClass.STATUS
        case Failed():
            return None, outcome.error
