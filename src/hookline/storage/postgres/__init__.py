"""The storage protocol on PostgreSQL: for any number of nodes."""

from hookline.storage.postgres.engine import PostgresStorage

__all__ = ["PostgresStorage"]
