"""What is published and attempted, as a person at a terminal and a program look at it."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from processes import Running, Workplace


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workplace]:
    """A workplace with a development server."""
    with closing(Workplace(tmp_path)) as workplace:
        workplace.serve()
        yield workplace


def listener(here: Workplace, *arguments: str) -> tuple[Running, str]:
    """A receiver with its subscription, and the id of its company."""
    running = here.start("listen", "--create", *arguments)
    company = running.wait_for("of company").split("of company ")[1].split()[0]
    running.wait_for("Listening on")
    return running, company


def test_tail_prints_attempts_once_each_in_their_order(here: Workplace) -> None:
    _, company = listener(here, "--fail", "1")
    here.run("publish", "note.created", "--company", company, "--id", "early")
    following = here.start("tail", "--json", "--count", "4", "--interval", "0.1")
    rows = [json.loads(following.wait_for('"attemptNumber"'))]
    here.run("publish", "note.created", "--company", company, "--id", "late")
    rows += [json.loads(following.wait_for('"attemptNumber"')) for _ in range(3)]

    assert following.process.wait(30) == 0
    assert len({row["id"] for row in rows}) == 4
    assert [(row["attemptNumber"], row["success"]) for row in rows if row["eventId"] == "early"] == [
        (1, False),
        (2, True),
    ]
    assert [(row["attemptNumber"], row["success"]) for row in rows if row["eventId"] == "late"] == [
        (1, False),
        (2, True),
    ]


def test_tail_shows_only_what_was_asked_for_and_ends_with_ctrl_c(here: Workplace) -> None:
    _, company = listener(here, "--fail", "1")
    following = here.start("tail", "--status", "failed", "--interval", "0.1")
    following.wait_for("Following")
    here.run("publish", "note.created", "--company", company)

    assert "✗ 503" in following.wait_for("attempt 1")
    assert following.end(signal.SIGINT) == 0
    following.close()
    assert "✓" not in "".join(following.lines)


def test_events_are_listed_and_one_is_followed_to_its_deliveries(here: Workplace) -> None:
    receiver, company = listener(here)
    here.run("publish", "note.created", "--company", company, "--id", "evt-one")
    here.run("publish", "collaboration-request.closed", "--company", company, "--id", "evt-two")
    receiver.wait_for("evt-one")

    listed = here.run("events").stdout
    assert [line.split()[2] for line in listed.splitlines()[1:]] == ["evt-two", "evt-one"]
    narrowed = json.loads(here.run("events", "--event-type", "note.created", "--json").stdout)
    assert [item["id"] for item in narrowed["items"]] == ["evt-one"]
    assert here.run("events", "--state", "dead").stdout == ""
    assert "No subscription got it" in here.run("events", "evt-two").stdout
    assert "not matched: event type" in here.run("events", "evt-two").stdout
    shown = ""
    while "succeeded" not in shown:  # the receiver knows of an attempt before the log does
        shown = here.run("events", "evt-one").stdout
    assert "200" in shown


def test_unknown_event_is_told_as_the_server_tells_it(here: Workplace) -> None:
    ended = here.run("events", "evt-none")

    assert ended.returncode == 1
    assert "404" in ended.stderr


def test_genuine_delivery_is_handed_on_byte_for_byte_and_its_answer_given_back(here: Workplace) -> None:
    behind = here.start("listen", "--json", "--fail", "1", "--count", "2")
    address = behind.wait_for("Listening on").split()[2]
    front, company = listener(here, "--json", "--count", "2", "--forward-to", f"{address}in?x=1")
    here.run("publish", "note.created", "--company", company, "--data", '{"n":1.10}')
    fronts = [json.loads(front.wait_for('"webhookId"')) for _ in range(2)]
    behinds = [json.loads(behind.wait_for('"webhookId"')) for _ in range(2)]

    assert front.process.wait(30) == 0
    assert [each["answered"] for each in fronts] == [503, 200]
    assert [each["path"] for each in behinds] == ["/in?x=1"] * 2
    assert [each["body"] for each in behinds] == [each["body"] for each in fronts]
    for name in ("webhook-signature", "x-hub-signature-256", "hookline-attempt", "content-type"):
        assert [each["headers"][name] for each in behinds] == [each["headers"][name] for each in fronts]
