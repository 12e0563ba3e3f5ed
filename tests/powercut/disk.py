"""What a disk may hold after a cut: all that was synced, and of the rest whatever the disk had got round to.

Nothing is promised about what was not synced: not that it is there, not its order, not that a write is whole. Only a
sector is old or new, never between, and bytes outside what was written stay (SQLite counts on that much: "powersafe
overwrite").
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import Final

from powercut.recording import Create, Operation, Remove, Sync, Truncate, Write

Files = Mapping[str, bytes]
"""By name; a name that is missing is a file that is not there."""


class Loss(StrEnum):
    """What became of the writes that were not synced."""

    NOTHING_LEFT = "nothing left"
    ALL_KEPT = "all kept"
    PREFIX = "prefix"
    TORN_PREFIX = "prefix, the last write torn"
    SUBSET = "subset"
    TORN_SUBSET = "subset, torn"
    REORDERED = "reordered"
    ONLY_GROWN = "only the size"


LOSSES: Final = tuple(Loss)
SECTORS: Final = (512, 4096)


class _Inode:
    def __init__(self) -> None:
        self.durable = bytearray()
        self.unsynced: list[Write | Truncate] = []

    def sync(self) -> None:
        for change in self.unsynced:
            _apply(self.durable, change)
        self.unsynced.clear()


class Disk:
    """The disk as a recording goes on."""

    def __init__(self) -> None:
        self._durable: dict[str, _Inode] = {}
        """The directory as it was synced last."""
        self._now: dict[str, _Inode] = {}
        """The directory as the program sees it."""
        self._unsynced: list[tuple[str, _Inode | None]] = []
        """Changes of the directory since: a name, and what it leads to."""
        self.position = 0
        """How many operations it has seen."""

    @property
    def unsynced(self) -> Sequence[str]:
        """What a cut now could lose something of."""
        names = {"": "database", "-wal": "log", "-journal": "journal"}
        struck = [names[name] for name, inode in self._now.items() if inode.unsynced]
        return [*struck, "directory"] if self._unsynced else struck

    def take(self, operation: Operation) -> None:
        """Let one thing happen."""
        self.position += 1
        match operation:
            case Create(file):
                self._now[file] = _Inode()
                self._unsynced.append((file, self._now[file]))
            case Remove(file, is_synced):
                del self._now[file]
                self._unsynced.append((file, None))
                if is_synced:
                    self._sync_directory()
            case Write(file) | Truncate(file):
                self._now[file].unsynced.append(operation)
            case Sync(file, with_directory):
                self._now[file].sync()
                if with_directory:
                    self._sync_directory()

    def after_cut(self, random: Random, loss: Loss) -> Files:
        """Return what could be found after a cut now."""
        directory = dict(self._durable)
        for name, inode in self._kept_names(random, loss):
            if inode is None:
                directory.pop(name, None)
            else:
                directory[name] = inode
        return {name: _content(inode, random, loss) for name, inode in directory.items()}

    def _kept_names(self, random: Random, loss: Loss) -> Sequence[tuple[str, _Inode | None]]:
        match loss:
            case Loss.ALL_KEPT:
                return self._unsynced
            case Loss.NOTHING_LEFT:
                return ()
            case Loss.PREFIX | Loss.TORN_PREFIX:
                return self._unsynced[: random.randint(0, len(self._unsynced))]
            case _:
                return [change for change in self._unsynced if random.random() < 0.5]

    def _sync_directory(self) -> None:
        self._durable = dict(self._now)
        self._unsynced.clear()


def _content(inode: _Inode, random: Random, loss: Loss) -> bytes:
    content = bytearray(inode.durable)
    if loss is Loss.ONLY_GROWN:
        content.extend(bytes(max(0, _size_after(inode) - len(content))))
        return bytes(content)
    for change in _kept(inode.unsynced, random, loss):
        _apply(content, change)
    return bytes(content)


def _size_after(inode: _Inode) -> int:
    size = len(inode.durable)
    for change in inode.unsynced:
        size = change.size if isinstance(change, Truncate) else max(size, change.offset + len(change.data))
    return size


def _kept(unsynced: Sequence[Write | Truncate], random: Random, loss: Loss) -> Iterator[Write | Truncate]:
    share = random.choice((0.1, 0.5, 0.9))
    match loss:
        case Loss.ALL_KEPT:
            yield from unsynced
        case Loss.PREFIX:
            yield from unsynced[: random.randint(0, len(unsynced))]
        case Loss.TORN_PREFIX if unsynced:
            last = random.randrange(len(unsynced))
            yield from unsynced[:last]
            yield from _torn(unsynced[last], random, 0.5)
        case Loss.SUBSET:
            yield from (change for change in unsynced if random.random() < share)
        case Loss.TORN_SUBSET:
            for change in unsynced:
                yield from _torn(change, random, share)
        case Loss.REORDERED:
            some = [change for change in unsynced if random.random() < share]
            yield from random.sample(some, len(some))
        case _:
            return


def _torn(change: Write | Truncate, random: Random, share: float) -> Iterator[Write | Truncate]:
    """Keep some of the sectors that a write touches."""
    if isinstance(change, Truncate):
        if random.random() < share:
            yield change
        return
    sector = random.choice(SECTORS)
    start, end = change.offset, change.offset + len(change.data)
    for border in range(start - start % sector, end, sector):
        if random.random() < share:
            first, last = max(start, border), min(end, border + sector)
            yield Write(change.file, first, change.data[first - start : last - start])


def _apply(content: bytearray, change: Write | Truncate) -> None:
    """Change a file's bytes; what lies between its end and a write behind it reads as zeros."""
    if isinstance(change, Truncate):
        del content[change.size :]
        return
    if change.offset > len(content):
        content.extend(bytes(change.offset - len(content)))
    content[change.offset : change.offset + len(change.data)] = change.data
