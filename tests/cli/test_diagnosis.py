"""Each trouble is found, named, and comes with what to do; what is well is not complained about."""

import base64
from pathlib import Path

import pytest
from msgspec import structs

from hookline import credentials
from hookline.cli import diagnosis
from hookline.cli.diagnosis import Finding, State
from hookline.config import Settings, from_environment
from hookline.model import PayloadVersion, Policies, Secret, Subscription
from hookline.sealing import Keyring
from hookline.storage.claims import Backlog
from hookline.storage.inspection import Guarantee, Inspection

NOW = 1_795_420_800_000
OLD, NEW = b"o" * 32, b"n" * 32
WELL = Inspection(server="SQLite 3", schema=2, schema_wanted=2, guarantees=(), free_bytes=1 << 40)


class Stopped:
    """A clock that stands."""

    def wall_ms(self) -> int:
        return NOW

    def schedule_ms(self) -> int:
        return NOW

    def monotonic_seconds(self) -> float:
        return NOW / 1000


def settings(**environment: str) -> Settings:
    return from_environment(
        {
            "HOOKLINE_DATABASE_URL": "postgresql://h/d",
            **{f"HOOKLINE_{name}": text for name, text in environment.items()},
        },
        needs_secret_key=False,
    )


def keys(*each: bytes) -> str:
    return ",".join(base64.b64encode(key).decode() for key in each)


def sealed_with(key: bytes) -> Subscription:
    return Subscription(
        id=7,
        company_id=3,
        revision=1,
        callback_url="https://api.example.com/",
        event_types=None,
        payload_version=PayloadVersion.V1,
        policies=Policies(),
        secrets=(Secret(sealed=credentials.seal_secret(7, "whsec_AAAA", Keyring([key])), created_at=0),),
        created_at=0,
        updated_at=0,
    )


def told(findings: list[Finding]) -> list[tuple[State, str]]:
    """What is not well; every one of them has a next step or says it itself."""
    return [(each.state, each.text) for each in findings if each.state is not State.OK]


def test_what_is_well_is_said_to_be_well() -> None:
    findings = [
        *diagnosis.of_database(settings(), WELL),
        *diagnosis.of_key(settings(SECRET_KEY=keys(NEW)), structs.replace(WELL, subscriptions=(sealed_with(NEW),))),
        *diagnosis.of_clock(structs.replace(WELL, wall_ms=NOW, newest_at=NOW), Stopped(), is_synchronised=True),
    ]
    assert told(findings) == []
    assert {each.subject for each in findings} == {"database", "durability", "key", "clock"}


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        ({"schema": 1}, State.WARNING, "hookline migrate"),
        ({"schema": 3}, State.ERROR, "newer Hookline"),
        ({"damage": ("row 3 missing from index",)}, State.ERROR, "restore"),
        ({"guarantees": (Guarantee(name="fsync", found="off", wanted="on"),)}, State.ERROR, "has to be on"),
        ({"unreadable": (1001,)}, State.ERROR, "Restore these rows"),
        ({"free_bytes": 1 << 20}, State.WARNING, "503"),
        ({"backlog": Backlog(open=5, oldest_due_ms=120_000)}, State.WARNING, "HOOKLINE_ROLES"),
    ],
)
def test_trouble_of_the_database_is_found(found: dict[str, object], state: State, words: str) -> None:
    bad = [
        each for each in diagnosis.of_database(settings(), structs.replace(WELL, **found)) if each.state is not State.OK
    ]
    assert [each.state for each in bad] == [state]
    assert words in str(bad[0].next_step)


@pytest.mark.parametrize("found", ["on", "remote_apply"])
def test_either_way_of_waiting_for_the_disk_is_well(found: str) -> None:
    assert Guarantee(name="synchronous_commit", found=found, wanted="on or remote_apply").is_kept
    assert not Guarantee(name="synchronous_commit", found="off", wanted="on or remote_apply").is_kept


@pytest.mark.parametrize(
    ("key", "held", "state", "words"),
    [
        ("", NEW, State.ERROR, "openssl rand"),
        (keys(NEW), OLD, State.ERROR, "Add the key"),
        (keys(NEW, OLD), OLD, State.WARNING, "hookline keys rotate"),
    ],
)
def test_trouble_with_the_key_is_found(key: str, held: bytes, state: State, words: str) -> None:
    inspection = structs.replace(WELL, subscriptions=(sealed_with(held),))
    (found,) = diagnosis.of_key(settings(SECRET_KEY=key), inspection)
    assert found.state is state
    assert words in str(found.next_step)


def test_database_of_development_is_told_from_one_without_its_key(tmp_path: Path) -> None:
    ours = settings(DATABASE_URL=f"sqlite:///{tmp_path / 'h.db'}", SECRET_KEY="")
    (without,) = diagnosis.of_key(ours, WELL)
    assert "openssl rand" in str(without.next_step)
    (tmp_path / "h.db.key").write_text(keys(NEW))
    (found,) = diagnosis.of_key(ours, WELL)
    assert found.state is State.ERROR
    assert "--dev" in str(found.next_step)


def test_lost_key_of_development_is_found(tmp_path: Path) -> None:
    ours = settings(MODE="development", DATABASE_URL=f"sqlite:///{tmp_path / 'h.db'}")
    assert [each.state for each in diagnosis.of_key(ours, WELL)] == [State.OK]
    (found,) = diagnosis.of_key(ours, structs.replace(WELL, subscriptions=(sealed_with(OLD),)))
    assert found.state is State.ERROR
    assert "h.db.key is gone" in found.text


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ({"wall_ms": NOW + 2_000}, State.WARNING),
        ({"wall_ms": NOW - 90_000}, State.ERROR),
        ({"newest_at": NOW + 90_000}, State.ERROR),
    ],
)
def test_trouble_with_the_clock_is_found(found: dict[str, int], state: State) -> None:
    findings = list(diagnosis.of_clock(structs.replace(WELL, **found), Stopped(), is_synchronised=None))
    assert [each.state for each in findings if each.state is not State.OK] == [state]


def test_clock_that_nobody_keeps_right_is_told_and_one_nobody_knows_of_is_not() -> None:
    assert told(list(diagnosis.of_clock(WELL, Stopped(), is_synchronised=False)))
    assert not told(list(diagnosis.of_clock(WELL, Stopped(), is_synchronised=None)))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"ALLOW_HTTP": "true"}, "HOOKLINE_ALLOW_HTTP"),
        ({"EGRESS_ALLOW": "169.254.0.0/16"}, "169.254.0.0/16 in HOOKLINE_EGRESS_ALLOW is a link-local address"),
        ({"CA_FILE": "/none.pem"}, "HOOKLINE_CA_FILE"),
    ],
)
def test_what_is_opened_for_attempts_is_told(said: dict[str, str], words: str) -> None:
    found = told(list(diagnosis.of_egress(settings(**said))))
    assert any(words in text for _, text in found)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("url", "state", "words"),
    [
        ("http://a.example.com/", State.ERROR, "https"),
        ("https://10.0.0.1/", State.ERROR, "a private address"),
        ("https://93.184.215.14/", State.OK, "accepted"),
    ],
)
async def test_callback_is_judged_as_at_registration(url: str, state: State, words: str) -> None:
    (found,) = await diagnosis.of_callback(settings(), url)
    assert found.state is state
    assert words in found.text


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_where_the_name_of_a_callback_leads_is_told() -> None:
    own = await diagnosis.of_callback(settings(MODE="development"), "http://localhost:8080/")
    other = await diagnosis.of_callback(settings(MODE="development"), "http://localhost:3000/")

    assert State.ERROR in {each.state for each in own}
    assert {each.state for each in other} == {State.OK}
