"""The storage protocol on one embedded SQLite file: the default, for one node."""

from hookline.storage.sqlite.engine import SqliteStorage

__all__ = ["SqliteStorage"]
