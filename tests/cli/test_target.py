import json
from pathlib import Path

import pytest

from hookline.cli.failure import EXIT_UNREACHED, EXIT_USAGE, Failure
from hookline.cli.target import Target, database_file, find, local_server


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database beside which a server has left its note."""
    note = {"url": "http://127.0.0.1:8080", "token": "hkl_op_local"}
    (tmp_path / "hookline.db.local").write_text(json.dumps(note), encoding="utf-8")
    return f"sqlite:///{tmp_path / 'hookline.db'}"


def test_local_server_is_found_with_its_token(database: str) -> None:
    assert find(None, None, {"HOOKLINE_DATABASE_URL": database}) == Target("http://127.0.0.1:8080", "hkl_op_local")


def test_said_token_goes_before_the_local_one(database: str) -> None:
    assert find(None, "mine", {"HOOKLINE_DATABASE_URL": database}).token == "mine"


def test_local_token_is_never_sent_to_another_server(database: str) -> None:
    with pytest.raises(Failure, match=r"no token for https://hooks\.example\.com") as failure:
        find("https://hooks.example.com", None, {"HOOKLINE_DATABASE_URL": database})

    assert failure.value.exit_code == EXIT_USAGE


def test_local_token_serves_its_own_address_however_it_is_said(database: str) -> None:
    assert find("http://127.0.0.1:8080/", None, {"HOOKLINE_DATABASE_URL": database}).token == "hkl_op_local"


def test_without_any_server_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no server is named") as failure:
        find(None, None, {"HOOKLINE_DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}"})

    assert failure.value.exit_code == EXIT_UNREACHED
    assert "hookline serve --dev" in str(failure.value.next_step)


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": "http://x"}', '"text"'])
def test_spoilt_note_counts_as_none(tmp_path: Path, note: str) -> None:
    (tmp_path / "hookline.db.local").write_text(note, encoding="utf-8")

    assert local_server(f"sqlite:///{tmp_path / 'hookline.db'}") is None


def test_address_without_a_scheme_is_a_usage_error() -> None:
    with pytest.raises(Failure, match="--url is 'localhost:8080'") as failure:
        find("localhost:8080", "token", {})

    assert failure.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///hookline.db", Path("hookline.db")),
        ("sqlite:////var/lib/hookline.db", Path("/var/lib/hookline.db")),
        ("postgresql://host/name", None),
    ],
)
def test_database_file_is_read_off_the_address(url: str, file: Path | None) -> None:
    assert database_file(url) == file
