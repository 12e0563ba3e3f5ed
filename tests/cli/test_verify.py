"""`hookline verify` judges what the signer of the standard's own library and `hmac` made, not what ours did."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from processes import Workplace
from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"eventType":"note.created","amount":1.10}'


def head(body: bytes = BODY, secret: str = SECRET, moment: datetime | None = None) -> str:
    at = moment or datetime.now(tz=UTC)
    hub = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    lines = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": f"sha256={hub}",
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", at, body.decode()),
    }
    return "POST /in HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())


@pytest.fixture
def here(tmp_path: Path) -> Workplace:
    """A directory with a genuine request."""
    (tmp_path / "body").write_bytes(BODY)
    (tmp_path / "head").write_text(head(), newline="")
    return Workplace(tmp_path)


def test_genuine_request_is_valid_twice(here: Workplace) -> None:
    ended = here.run("verify", "body", "--headers", "head", "--secret", SECRET, "--json")

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"hubSignature": "valid", "standardSignature": "valid", "valid": True}


def test_one_signature_is_enough_where_there_is_only_one(here: Workplace) -> None:
    line = next(each for each in head().splitlines() if each.startswith("X-Hub"))
    ended = here.run("verify", "--header", line, stdin=BODY.decode(), HOOKLINE_SECRET=SECRET)

    assert ended.returncode == 0, ended.stderr
    assert "missing" in ended.stdout


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BODY + b"\n", "a line end was added"),
        (json.dumps(json.loads(BODY), indent=2).replace("1.1", "1.10").encode(), "formatted again"),
        (BODY.replace(b"1.10", b"1.1"), "does not fit"),
        (b"", "does not fit"),
    ],
)
def test_changed_body_is_told_with_the_likely_reason(here: Workplace, body: bytes, reason: str) -> None:
    (here.path / "body").write_bytes(body)
    ended = here.run("verify", "body", "--headers", "head", "--secret", SECRET)

    assert ended.returncode == 1
    assert reason in ended.stderr
    assert ended.stdout.count("✗ wrong") == 2


def test_other_secret_is_wrong(here: Workplace) -> None:
    ended = here.run("verify", "body", "--headers", "head", "--secret", "whsec_AAAA")

    assert ended.returncode == 1
    assert "Is it the secret of this subscription" in ended.stderr


def test_old_request_is_refused_unless_any_age_is_asked_for(here: Workplace) -> None:
    (here.path / "head").write_text(head(moment=datetime(2026, 1, 1, tzinfo=UTC)))
    arguments = ("verify", "body", "--headers", "head", "--secret", SECRET)

    refused = here.run(*arguments)
    assert refused.returncode == 1
    assert "--any-age" in refused.stderr
    assert here.run(*arguments, "--any-age").returncode == 0


def test_request_without_a_signature_is_not_genuine(here: Workplace) -> None:
    ended = here.run("verify", "body", "--secret", SECRET)

    assert ended.returncode == 1
    assert "carries no signature" in ended.stderr


@pytest.mark.parametrize(
    "arguments", [("none", "--secret", SECRET), ("body", "--headers", "none", "--secret", SECRET), ("body",)]
)
def test_what_is_missing_is_a_usage_error_with_a_next_step(here: Workplace, arguments: tuple[str, ...]) -> None:
    ended = here.run("verify", *arguments)

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 2
