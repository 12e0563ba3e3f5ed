from pathlib import Path

import pytest

from hookline.cli.failure import EXIT_USAGE, Failure
from hookline.cli.target import Target, find

STAGING = '[staging]\nurl = "https://staging.example.com/"\ntoken = "hkl_op_staging"\n'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The user's file with one profile, away from any server."""
    return {"HOOKLINE_CONFIG": written(tmp_path, STAGING), "HOOKLINE_DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}"}


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "hookline.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


def test_profile_names_a_server_and_its_token(environment: dict[str, str]) -> None:
    found = find(None, None, environment, profile="staging")

    assert found == Target("https://staging.example.com", "hkl_op_staging")


def test_said_token_goes_before_the_profiles(environment: dict[str, str]) -> None:
    assert find(None, "mine", environment, profile="staging").token == "mine"


def test_token_of_a_profile_never_reaches_another_server(environment: dict[str, str]) -> None:
    with pytest.raises(Failure, match=r"profile 'staging' is") as failure:
        find("https://other.example.com", None, environment, profile="staging")

    assert failure.value.exit_code == EXIT_USAGE


def test_unknown_profile_names_those_there_are_and_what_to_write(environment: dict[str, str]) -> None:
    with pytest.raises(Failure, match="there is: staging") as failure:
        find(None, None, environment, profile="production")

    assert "[production]" in str(failure.value.next_step)


def test_without_a_file_the_next_step_is_what_to_write_into_it(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"there is: none") as failure:
        find(None, None, {"XDG_CONFIG_HOME": str(tmp_path)}, profile="staging")

    assert "[staging]" in str(failure.value.next_step)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    environment = {"HOOKLINE_CONFIG": written(tmp_path, STAGING, mode)}

    with pytest.raises(Failure, match="others may read it") as failure:
        find(None, None, environment, profile="staging")

    assert str(failure.value.next_step).startswith("chmod 600 ")


@pytest.mark.parametrize("text", ["[staging", "staging = 1", '[staging]\nurl = "https://a.example.com"', "\xff"])
def test_file_that_says_something_else_is_a_usage_error(tmp_path: Path, text: str) -> None:
    path = Path(written(tmp_path, ""))
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(Failure) as failure:
        find(None, None, {"HOOKLINE_CONFIG": str(path)}, profile="staging")

    assert failure.value.exit_code == EXIT_USAGE
