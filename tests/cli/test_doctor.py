import base64
import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from processes import Workplace

KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workplace]:
    """A workplace without a server."""
    with closing(Workplace(tmp_path)) as workplace:
        yield workplace


def examined(here: Workplace, *arguments: str, **environment: str) -> tuple[int, dict[str, list[Any]]]:
    """Exit code, and for each subject the states that were found."""
    ended = here.run("doctor", "--json", *arguments, **environment)
    found: dict[str, list[Any]] = {}
    for each in json.loads(ended.stdout):
        found.setdefault(each["subject"], []).append(each["state"])
    return ended.returncode, found


def test_production_that_is_set_up_right_has_no_error(here: Workplace) -> None:
    here.run("company", "create", "Acme")
    code, found = examined(here, HOOKLINE_SECRET_KEY=KEY)

    assert code == 0
    assert found["settings"] == found["database"] == found["key"] == ["ok"]


def test_doctor_works_beside_a_server_and_tells_that_it_is_ready(here: Workplace) -> None:
    server = here.serve()
    code, found = examined(here, "--dev")
    assert code == 0
    assert found["server"] == found["database"] == found["key"] == ["ok"]

    server.end(signal.SIGKILL)
    code, found = examined(here, "--dev")
    assert code == 0
    assert found["server"] == ["warning"]


def test_what_is_missing_is_told_to_a_person_with_the_next_step(here: Workplace) -> None:
    ended = here.run("doctor", HOOKLINE_SECRET_KEYS="x")

    assert ended.returncode == 1
    assert "Is HOOKLINE_SECRET_KEY meant?" in ended.stdout
    assert "there is no database at" in ended.stdout
    assert "openssl rand -base64 32" in ended.stdout
    assert list(here.path.iterdir()) == []


@pytest.mark.parametrize(
    "environment",
    [
        {"HOOKLINE_PORT": "http"},
        {"HOOKLINE_DATABASE_URL": "postgresql://u:secret@127.0.0.1:9/h"},
    ],
)
def test_refusals_of_the_start_are_findings(here: Workplace, environment: dict[str, str]) -> None:
    ended = here.run("doctor", **environment)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stdout


def test_file_that_is_no_database_is_a_finding(here: Workplace) -> None:
    (here.path / "hookline.db").write_text("no database at all, but long enough to look like a header of one" * 20)
    code, found = examined(here, HOOKLINE_SECRET_KEY=KEY)

    assert code == 1
    assert "error" in found["database"]


def test_database_that_others_may_read_is_a_finding(here: Workplace) -> None:
    here.run("company", "create", "Acme")
    (here.path / "hookline.db").chmod(0o644)
    code, found = examined(here, HOOKLINE_SECRET_KEY=KEY)

    assert code == 1
    assert "error" in found["durability"]


def test_file_that_others_may_read_is_a_finding_and_a_private_one_is_called_so(here: Workplace) -> None:
    here.run("company", "create", "Acme")
    assert "file private" in here.run("doctor", HOOKLINE_SECRET_KEY=KEY).stdout

    (here.path / "hookline.db").chmod(0o644)
    shown = here.run("doctor", HOOKLINE_SECRET_KEY=KEY).stdout
    assert "file is open to others (mode 644; chmod 600)." in shown
    assert "It has to be private." in shown
