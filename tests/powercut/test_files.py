"""What is written beside the database is on the disk before anything counts on it."""

import os
from pathlib import Path

import apsw
import pytest

from hookline import local_files
from hookline.config import from_environment
from hookline.storage.sqlite import copying

Synced = list[tuple[str, bytes | list[str]]]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Synced:
    """Collects what each sync of ours put on the disk: a file's bytes, or a directory's names."""
    seen: Synced = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        really(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append((path.name, sorted(entry.name for entry in path.iterdir()) if path.is_dir() else path.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_a_new_key_is_on_the_disk_under_its_name_before_it_seals_anything(tmp_path: Path, synced: Synced) -> None:
    settings = from_environment(
        {"HOOKLINE_MODE": "development", "HOOKLINE_DATABASE_URL": f"sqlite:///{tmp_path / 'h.db'}"}
    )
    (key,) = local_files.with_key(settings).secret_keys
    assert [name for name, _ in synced] == ["h.db.key.unfinished", tmp_path.name]
    assert synced[0][1] == (tmp_path / "h.db.key").read_bytes()
    assert synced[1][1] == ["h.db.key"]
    assert local_files.with_key(settings).secret_keys == (key,)


def test_the_copy_before_a_migration_has_its_name_on_the_disk(tmp_path: Path, synced: Synced) -> None:
    connection = apsw.Connection(str(tmp_path / "h.db"))
    connection.execute("CREATE TABLE kept (what TEXT); INSERT INTO kept VALUES ('this')")
    copying.copy(connection, str(tmp_path / "h.db.before-2"))
    assert synced == [(tmp_path.name, ["h.db", "h.db.before-2"])]
    assert apsw.Connection(str(tmp_path / "h.db.before-2")).execute("SELECT what FROM kept").get == "this"
