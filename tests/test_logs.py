"""One line per fact, as JSON for programs or as text for people, and never in the way."""

import io
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from hookline import logs
from hookline.logs import AttemptLine, JsonFormatter, Lines, ReadableFormatter, RequestLine
from hookline.model import ErrorClass

AT = 1_795_420_800_000


class Dial:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.at = AT

    def wall_ms(self) -> int:
        return self.at

    def schedule_ms(self) -> int:
        return self.at

    def monotonic_seconds(self) -> float:
        return self.at / 1000


@pytest.fixture
def dial() -> Dial:
    return Dial()


def _request(at: str) -> RequestLine:
    return RequestLine(at=at, request_id="r1", method="POST", route="/v1/events", status=202, duration_ms=1.5)


def _attempt(at: str, status: int | None, error: ErrorClass | None) -> AttemptLine:
    return AttemptLine(
        at=at,
        delivery_id=5,
        attempt=2,
        event_id="evt_1",
        event_type="note.created",
        subscription_id=7,
        company_id=3,
        http_status=status,
        error=error,
        duration_ms=12,
    )


def test_production_writes_one_json_object_a_line(dial: Dial) -> None:
    stream = io.StringIO()
    lines = Lines(stream, dial, is_development=False)
    lines.write(_request(lines.now()))
    lines.write(_attempt(lines.now(), None, ErrorClass.TIMEOUT))
    first, second = stream.getvalue().splitlines()
    assert json.loads(first) == {
        "signal": "request.served",
        "at": "2026-11-23T08:00:00.000Z",
        "requestId": "r1",
        "method": "POST",
        "route": "/v1/events",
        "status": 202,
        "durationMs": 1.5,
    }
    assert json.loads(second) == {
        "signal": "attempt.ended",
        "at": "2026-11-23T08:00:00.000Z",
        "deliveryId": 5,
        "attempt": 2,
        "eventId": "evt_1",
        "eventType": "note.created",
        "subscriptionId": 7,
        "companyId": 3,
        "httpStatus": None,
        "error": "timeout",
        "durationMs": 12,
    }


def test_development_writes_for_people(dial: Dial) -> None:
    stream = io.StringIO()
    lines = Lines(stream, dial, is_development=True)
    lines.write(_request(lines.now()))
    lines.write(_attempt(lines.now(), 500, ErrorClass.STATUS))
    lines.write(_attempt(lines.now(), None, ErrorClass.DNS))
    assert stream.getvalue() == (
        "08:00:00.000 POST /v1/events: 202 in 1.5 ms\n"
        "08:00:00.000 note.created evt_1 to subscription 7, attempt 2: 500 in 12 ms\n"
        "08:00:00.000 note.created evt_1 to subscription 7, attempt 2: dns in 12 ms\n"
    )


def test_the_time_of_a_line_is_that_of_its_millisecond(dial: Dial) -> None:
    lines = Lines(io.StringIO(), dial, is_development=False)
    seen = []
    for at in (AT, AT + 7, AT + 999, AT + 1000, AT + 61_001, AT - 1):
        dial.at = at
        seen.append(lines.now()[14:])
    assert seen == ["00:00.000Z", "00:00.007Z", "00:00.999Z", "00:01.000Z", "01:01.001Z", "59:59.999Z"]


class BrokenPipe(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_a_line_that_nobody_can_read_fails_nothing(dial: Dial) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, BrokenPipe()):
        lines = Lines(stream, dial, is_development=False)
        lines.write(_request(lines.now()))


# --- what is said through logging ------------------------------------------------------------------------------------


def _record(text: str, *values: object, level: int = logging.WARNING, failure: Exception | None = None) -> Any:
    record = logging.LogRecord("hookline.engine", level, "engine.py", 1, text, values, None)
    record.created = AT / 1000
    if failure:
        try:
            raise failure
        except type(failure) as error:
            record.exc_info = (type(error), error, error.__traceback__)
    return record


def test_a_reader_that_stopped_reading_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # so that a write that would wait fails here
    stream = logs.buffered(writing)
    try:
        for number in range(50_000):
            stream.write(f"line {number}\n")
        stream.flush()
        os.set_blocking(reading, False)
        kept = os.read(reading, 1 << 20)
        assert kept.startswith(b"line 0\nline 1\n")
        stream.write("after\n")
        stream.flush()
        told, _, after = os.read(reading, 1 << 20).removeprefix(b"\n").partition(b" bytes of log are lost")
        assert int(told) + len(kept) == sum(len(f"line {number}\n") for number in range(50_000))
        assert after.endswith(b"\nafter\n")
    finally:
        stream.close()
        os.close(reading)
        os.close(writing)


def test_a_record_is_one_json_object_even_with_line_feeds_in_it() -> None:
    text = JsonFormatter().format(_record("%d attempts\nforged", 3))
    assert "\n" not in text
    assert json.loads(text) == {
        "at": "2026-11-23T08:00:00.000Z",
        "level": "warning",
        "signal": "hookline.engine",
        "text": "3 attempts\nforged",
    }


def test_a_failure_of_ours_keeps_its_traceback() -> None:
    record = _record("failed", level=logging.ERROR, failure=KeyError("a"))
    as_json = json.loads(JsonFormatter().format(record))
    assert as_json["exception"].startswith("Traceback")
    assert as_json["exception"].endswith("KeyError: 'a'")
    assert ReadableFormatter().format(record).startswith("08:00:00.000 error: failed\nTraceback")


def test_people_are_told_the_level_only_where_it_matters() -> None:
    assert ReadableFormatter().format(_record("ready", level=logging.INFO)) == "08:00:00.000 ready"
    assert ReadableFormatter().format(_record("slow")) == "08:00:00.000 warning: slow"


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger(logs.OURS)
    before = (root.handlers[:], root.level, ours.level)
    yield
    root.handlers[:], root.level, ours.level = before


@pytest.mark.usefixtures("untouched_logging")
@pytest.mark.parametrize("is_development", [True, False])
def test_ours_is_said_from_info_on_and_libraries_from_warning_on(*, is_development: bool) -> None:
    stream = io.StringIO()
    logs.configure(stream, is_development=is_development)
    logging.getLogger("hookline.engine").debug("a detail")
    logging.getLogger("hookline.engine").info("ours")
    logging.getLogger("library").info("theirs")
    logging.getLogger("library").warning("their warning")
    said = stream.getvalue().splitlines()
    assert len(said) == 2
    assert "ours" in said[0]
    assert "their warning" in said[1]
    assert said[0].startswith("{") is not is_development


@pytest.mark.usefixtures("untouched_logging")
def test_configuring_twice_says_nothing_twice() -> None:
    stream = io.StringIO()
    for _ in range(2):
        logs.configure(stream, is_development=True)
    logging.getLogger("hookline").info("once")
    assert stream.getvalue().count("once") == 1
