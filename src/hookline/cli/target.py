"""Which server a command talks to, and with which token.

What is said on the command line or in the environment goes first, as such or as the name of a profile; else the note
that a running server leaves beside its database (`<database>.local`) names both.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hookline.cli.failure import EXIT_UNREACHED, EXIT_USAGE, Failure
from hookline.cli.profiles import profile_named

DATABASE_URL_DEFAULT = "sqlite:///hookline.db"


class Target(NamedTuple):
    """A server and what it will know us by."""

    url: str
    token: str


def find(
    url: str | None,
    token: str | None,
    environment: Mapping[str, str] = os.environ,
    *,
    profile: str | None = None,
) -> Target:
    """Return the server to talk to, or raise `Failure` with what to type instead."""
    if profile is not None:
        url, token = _of_profile(profile, url, token, environment)
    local = local_server(environment.get("HOOKLINE_DATABASE_URL") or DATABASE_URL_DEFAULT)
    if url is None and local is None:
        raise Failure(
            f"no server is named, and none runs beside {Path.cwd()}.",
            "Start one with `hookline serve --dev`, or say --url and --token (HOOKLINE_URL, HOOKLINE_TOKEN).",
            EXIT_UNREACHED,
        )
    address = (url or (local.url if local else "")).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise Failure(f"--url is {address!r}.", "It should read like https://hooks.example.com.", EXIT_USAGE)
    if token is None and local is not None and local.url == address:
        token = local.token
    if token is None:
        raise Failure(
            f"there is no token for {address}.",
            "Say --token or set HOOKLINE_TOKEN; on the server's machine `hookline token create NAME` makes one.",
            EXIT_USAGE,
        )
    if not is_visible(token):
        raise Failure(
            "the token holds something else than visible ASCII characters.", "Copy it again, whole.", EXIT_USAGE
        )
    return Target(address, token)


def _of_profile(
    profile: str, url: str | None, token: str | None, environment: Mapping[str, str]
) -> tuple[str, str | None]:
    """Return the profile's address, and its token unless one is said; two addresses are a contradiction.

    The token of one server must not reach the other, whichever of the two was meant.
    """
    address, its_token = profile_named(profile, environment)
    if url is not None and url.rstrip("/") != address.rstrip("/"):
        raise Failure(
            f"profile {profile!r} is {address}, and --url (or HOOKLINE_URL) is {url}.", "Say one of them.", EXIT_USAGE
        )
    return address, token or its_token


def local_server(database_url: str) -> Target | None:
    """Read the note of the server that runs on this SQLite file; None without one. It may have died since."""
    path = database_file(database_url)
    if path is None:
        return None
    try:
        note = json.loads(Path(f"{path}.local").read_text(encoding="utf-8"))
        return Target(str(note["url"]).rstrip("/"), str(note["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_visible(text: str) -> bool:
    """Tell whether a header may carry this as it is."""
    return bool(text) and all("!" <= character <= "~" for character in text)


def database_file(database_url: str) -> Path | None:
    """Return the file of an SQLite address, None for a server database."""
    prefix, _, path = database_url.partition(":///")
    return Path(path) if prefix == "sqlite" else None
