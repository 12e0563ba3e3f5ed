"""A file system that remembers: each write, truncation, creation, removal and sync of a database's files, in order.

Everything is passed on to the real file system. What is kept is what a disk needs to know to forget it again.
"""

from pathlib import Path
from typing import Any

import apsw
from msgspec import Struct


class Create(Struct, frozen=True):
    """A file that was not there was opened for writing."""

    file: str


class Remove(Struct, frozen=True):
    """A file's name was taken out of the directory."""

    file: str
    is_synced: bool


class Write(Struct, frozen=True):
    """Bytes were handed to the file system."""

    file: str
    offset: int
    data: bytes


class Truncate(Struct, frozen=True):
    """A file was cut."""

    file: str
    size: int


class Sync(Struct, frozen=True):
    """A file's bytes are on the disk from here on.

    SQLite syncs the directory together with the first sync of a journal or log that it has created
    (`os_unix.c`, UNIXFILE_DIRSYNC); it does so below the layer that is recorded here.
    """

    file: str
    with_directory: bool


Operation = Create | Remove | Write | Truncate | Sync


class Recording:
    """What happened to the files beside one database, named by what follows the database's own name."""

    def __init__(self, database: Path) -> None:
        self.operations: list[Operation] = []
        self._database = str(database)

    @property
    def position(self) -> int:
        """How much has happened so far: what is promised now must survive every cut from here on."""
        return len(self.operations)

    def name_of(self, path: str | None) -> str | None:
        """Return the file's short name: "" for the database itself; None for one that is not the database's."""
        if path is None or not path.startswith(self._database):
            return None
        return path[len(self._database) :]


class RecordingVfs(apsw.VFS):
    """The machine's own file system under another name, with a recording of what is done to one database."""

    def __init__(self, name: str, recording: Recording) -> None:
        self._recording = recording
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        file = self._recording.name_of(path)
        is_new = path is not None and not Path(path).exists()
        if path is not None and file is not None and is_new and flags[0] & apsw.SQLITE_OPEN_CREATE:
            self._recording.operations.append(Create(file))
        return _RecordingFile(self._recording, file, is_new=is_new, name=name, flags=flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001 - as SQLite calls it
        super().xDelete(filename, syncdir)
        file = self._recording.name_of(filename)
        if file is not None:
            self._recording.operations.append(Remove(file, syncdir))


class _RecordingFile(apsw.VFSFile):
    def __init__(self, recording: Recording, file: str | None, *, is_new: bool, name: Any, flags: list[int]) -> None:
        self._operations = recording.operations
        self._file = file
        self._syncs_directory = is_new and file != ""
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        if self._file is not None:
            self._operations.append(Write(self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        if self._file is not None:
            self._operations.append(Truncate(self._file, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        if self._file is not None:
            self._operations.append(Sync(self._file, self._syncs_directory))
            self._syncs_directory = False
