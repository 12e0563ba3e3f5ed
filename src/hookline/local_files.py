"""The files that a server keeps beside its SQLite database: development's key, and the note that commands look for."""

import base64
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from hmac import digest
from pathlib import Path
from typing import Final

from msgspec import structs

from hookline.config import SECRET_KEY_BYTES, Settings
from hookline.errors import StartRefused
from hookline.model import Role
from hookline.tokens import new_token

_SQLITE: Final = "sqlite:///"


def is_local(settings: Settings) -> bool:
    """Tell whether the database is a file of this machine."""
    return settings.database_url.startswith(_SQLITE)


def database_of(settings: Settings) -> str:
    """Return the path of the SQLite file, as the settings say it."""
    return settings.database_url.removeprefix(_SQLITE)


def key_file(settings: Settings) -> Path:
    """Return where development keeps its key."""
    return Path(f"{database_of(settings)}.key" if is_local(settings) else "hookline.key")


def with_key(settings: Settings) -> Settings:
    """In development, read the key beside the database, or make it: what was sealed stays readable after a restart.

    Raises `StartRefused` where the file cannot be written, or holds no key.
    """
    if settings.secret_keys or not settings.is_development:
        return settings
    path = key_file(settings)
    if not path.exists():
        # Whole under another name first, and on the disk before anything is sealed with it: a key that a power cut
        # takes takes every secret in the database with it.
        unfinished = path.with_name(f"{path.name}.unfinished")
        _write_private(unfinished, base64.b64encode(secrets.token_bytes(SECRET_KEY_BYTES)).decode() + "\n")
        unfinished.replace(path)
        _sync_directory(path.parent)
    try:
        key = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != SECRET_KEY_BYTES:
        raise StartRefused(
            f"{path} does not hold a key of {SECRET_KEY_BYTES} bytes in base64. Restore it: without it the secrets in "
            "the database cannot be read. If there is nothing to keep, remove it together with the database."
        )
    return structs.replace(settings, secret_keys=(key,))


def operator_token(settings: Settings) -> str | None:
    """Derive the operator token that development prints at each start: the same while the key stays.

    None in production, and where the settings name one.
    """
    if not settings.is_development or settings.operator_token:
        return None
    return new_token(Role.OPERATOR, lambda size: digest(settings.secret_keys[0], b"operator token", sha256)[:size])


@contextmanager
def note(settings: Settings, url: str, token: str) -> Iterator[None]:
    """Leave `<database>.local` while the server runs, so that commands beside it may talk to it."""
    if not is_local(settings):
        yield
        return
    path = Path(f"{database_of(settings)}.local")
    _write_private(path, json.dumps({"url": url, "token": token}) + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; raise `StartRefused` where that cannot be done."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise StartRefused(
            f"Cannot write {path}: {error.strerror}. "
            "The directory of the database must exist and be writable; HOOKLINE_DATABASE_URL names it."
        ) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    """Put the names in a directory on the disk: a file that was synced can still lose its name."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
