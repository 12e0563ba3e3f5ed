"""Stylesheet, script and icon, under names that hold their hash: what is cached for a year can never be stale."""

from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

DIRECTORY: Final = Path(__file__).parent / "static"
PREFIX: Final = "/static/"
HASH_LENGTH: Final = 12
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """One file as it is served."""

    content: bytes
    media_type: str


class Assets:
    """All files of the directory, read once."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._paths: dict[str, str] = {}
        self._assets: dict[str, Asset] = {}
        for file in sorted(directory.iterdir()):
            content = file.read_bytes()
            path = f"{PREFIX}{file.stem}.{sha256(content).hexdigest()[:HASH_LENGTH]}{file.suffix}"
            self._paths[file.name] = path
            self._assets[path] = Asset(content, MEDIA_TYPES[file.suffix])

    def path(self, name: str) -> str:
        """Return where a file is served, by its plain name."""
        return self._paths[name]

    def at(self, path: str) -> Asset | None:
        """Return what is served under a path; None for any other, old hashes included."""
        return self._assets.get(path)
