"""What is published and attempted, as a person at a terminal and a program look at it."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from processes import Running, Workplace

from hookline.cli.client import Client
from hookline.cli.target import Target


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


def test_restart_of_the_server_ends_nobodys_watching(here: Workplace) -> None:
    _, company = listener(here)
    server, again = here.running[0], ("serve", "--dev", "--port", _port(here))
    token = server.wait_for("Operator token: ").split()[-1]
    access = ("--url", _url(here), "--token", token)
    following = here.start("tail", "--interval", "0.1", *access)
    following.wait_for("Following")
    server.end()
    following.wait_for("Looking again until it does")
    here.start(*again).wait_for("hookline ready on ")
    here.run("publish", "note.created", "--company", company, "--id", "evt-after", *access)

    assert "evt-after" in following.wait_for("✓ 200")


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


def test_replay_sends_again_and_says_when_it_is_done(here: Workplace) -> None:
    receiver, company = listener(here, "--json")
    here.run("publish", "note.created", "--company", company, "--id", "evt-again")
    receiver.wait_for("evt-again")
    subscription = _only_subscription(here)
    done: dict[str, object] = {}
    while done.get("done") != 1:  # the receiver knows of an attempt before the log does
        ended = here.run("replay", subscription, "--from", "2026-01-01T00:00:00Z", "--status", "succeeded", "--json")
        assert ended.returncode == 0, ended.stderr
        done = json.loads(ended.stdout)

    assert done["state"] == "done"
    assert done["total"] == 1
    assert "evt-again" in receiver.wait_for("evt-again")
    watched = here.run("replay", "--watch", str(done["id"]))
    assert "is done: 1 of 1" in watched.stderr


def test_replay_over_everything_is_started_and_cancelled(here: Workplace) -> None:
    listener(here)
    started = here.run("replay", "--all", "--status", "failed", "--from", "2026-01-01T00:00:00Z", "--no-wait", "--json")
    replay_id = str(json.loads(started.stdout)["id"])
    cancelled = here.run("replay", "--cancel", replay_id, "--json")

    assert cancelled.returncode == 0, cancelled.stderr
    assert json.loads(cancelled.stdout)["state"] in {"done", "cancelled"}


@pytest.mark.parametrize(
    "arguments", [(), ("7", "--all"), ("7",), ("--all", "--from", "2026-01-01T00:00:00Z"), ("--watch", "1", "7")]
)
def test_replay_asks_for_what_is_missing(here: Workplace, arguments: tuple[str, ...]) -> None:
    ended = here.run("replay", *arguments)

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 2


def test_top_shows_rates_backlog_and_who_fails(here: Workplace) -> None:
    _, company = listener(here, "--fail", "9")
    watching = here.start("top", "--json", "--interval", "0.2")
    watching.wait_for("publishedPerSecond")
    here.run("publish", "note.created", "--company", company)
    looks: list[dict[str, Any]] = []
    while not (looks and looks[-1]["failing"] and looks[-1]["open"]):  # each is measured in its own time
        looks.append(json.loads(watching.wait_for("publishedPerSecond")))

    assert watching.end(signal.SIGINT) == 0
    assert any(look["publishedPerSecond"] > 0 for look in looks)
    assert any(look["failedPerSecond"] > 0 for look in looks)
    assert looks[-1]["open"] == 1
    assert looks[-1]["failing"][0]["last"] == 503
    shown = here.run("top", "--count", "1", "--interval", "0.1").stdout
    assert "published/s" in shown
    assert "503" in shown


def _url(here: Workplace) -> str:
    return str(json.loads((here.path / "hookline.db.local").read_text())["url"])


def _port(here: Workplace) -> str:
    return _url(here).rpartition(":")[2]


def _only_subscription(here: Workplace) -> str:
    note = json.loads((here.path / "hookline.db.local").read_text())
    (only,) = Client(Target(note["url"], note["token"])).call("GET", "/v1/webhooks")
    return str(only["id"])
