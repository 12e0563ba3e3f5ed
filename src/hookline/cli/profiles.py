"""Servers by name, in a file of the user's: `--profile staging` instead of an address and a token.

The file is TOML, one table for each profile, with `url` and `token`. It holds tokens, so one that others may read is
refused, as ssh refuses such a key.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hookline.cli.failure import EXIT_USAGE, Failure

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def profile_named(name: str, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return address and token of a profile, or raise `Failure` with what to write where."""
    path = config_file(environment)
    profiles = _read(path)
    found = profiles.get(name)
    if not isinstance(found, dict):
        known = ", ".join(sorted(profiles)) or "none"
        raise Failure(f"there is no profile {name!r} in {path}; there is: {known}.", _lines(name), EXIT_USAGE)
    url, token = found.get("url"), found.get("token")
    if not (isinstance(url, str) and isinstance(token, str)):
        raise Failure(f"profile {name!r} in {path} needs url and token, both text.", _lines(name), EXIT_USAGE)
    return url, token


def config_file(environment: Mapping[str, str]) -> Path:
    """Return where profiles are kept: what `HOOKLINE_CONFIG` names, else `hookline.toml` among the user's settings."""
    if said := environment.get("HOOKLINE_CONFIG"):
        return Path(said)
    folder = environment.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "hookline.toml"


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & OTHERS:
                raise Failure(f"{path} holds tokens, and others may read it.", f"chmod 600 {path}", EXIT_USAGE)
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}.", None, EXIT_USAGE) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{path} is no TOML: {error}.", _lines("staging"), EXIT_USAGE) from error


def _lines(name: str) -> str:
    return f'A profile reads:\n  [{name}]\n  url = "https://hooks.example.com"\n  token = "hkl_op_…"'
