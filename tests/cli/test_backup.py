import base64
import json
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from processes import Running, Workplace

OTHER_KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workplace]:
    """A workplace without a server."""
    with closing(Workplace(tmp_path)) as workplace:
        yield workplace


def with_a_subscription(here: Workplace) -> tuple[Running, str]:
    """A server that has one subscription, and its company."""
    server = here.serve()
    listener = here.start("listen", "--create")
    company = listener.wait_for("of company").split("of company ")[1].split()[0]
    listener.wait_for("Listening on")
    listener.end(signal.SIGKILL)  # so that its subscription stays
    return server, company


def test_backup_beside_a_server_holds_all_that_was_acknowledged(here: Workplace) -> None:
    _, company = with_a_subscription(here)
    for number in range(3):
        here.run("publish", "note.created", "--company", company, "--id", f"evt-{number}")
    ended = here.run("backup", "copy.db", "--json")
    here.run("publish", "note.created", "--company", company, "--id", "evt-late")

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["bytes"] == (here.path / "copy.db").stat().st_size
    assert stat.S_IMODE((here.path / "copy.db").stat().st_mode) == 0o600
    with closing(sqlite3.connect(here.path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT id FROM events ORDER BY key").fetchall() == [("evt-0",), ("evt-1",), ("evt-2",)]
    assert not list(here.path.glob("*.unfinished*"))


def test_backup_without_a_server_opens_as_a_database(here: Workplace) -> None:
    here.run("company", "create", "Acme")
    assert here.run("backup", "copy.db").returncode == 0

    copied = here.run("company", "list", "--database", "sqlite:///copy.db", "--json")
    assert [each["name"] for each in json.loads(copied.stdout)] == ["Acme"]


def test_backup_after_a_crash_holds_what_is_only_in_the_log(here: Workplace) -> None:
    server, company = with_a_subscription(here)
    here.run("publish", "note.created", "--company", company, "--id", "evt-kept")
    server.end(signal.SIGKILL)
    assert (here.path / "hookline.db-wal").stat().st_size > 0
    assert here.run("backup", "copy.db").returncode == 0

    with closing(sqlite3.connect(here.path / "copy.db")) as copy:
        assert copy.execute("SELECT id FROM events").fetchall() == [("evt-kept",)]


def test_backup_overwrites_nothing_and_backs_up_nothing_foreign(here: Workplace) -> None:
    here.run("company", "create", "Acme")
    (here.path / "copy.db").write_text("mine")
    with closing(sqlite3.connect(here.path / "other.db")) as other:
        other.execute("CREATE TABLE t (x)")

    assert "exists" in here.run("backup", "copy.db").stderr
    assert (here.path / "copy.db").read_text() == "mine"
    assert "holds no Hookline" in here.run("backup", "new.db", "--database", "sqlite:///other.db").stderr
    assert "there is no database" in here.run("backup", "new.db", "--database", "sqlite:///none.db").stderr
    assert "failed" in here.run("backup", "none/new.db").stderr
    assert not (here.path / "new.db").exists()


def test_damaged_database_gives_no_backup(here: Workplace) -> None:
    here.run("company", "create", "Acme")
    file = here.path / "hookline.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'companies'").fetchone()[0]
    content = bytearray(file.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = bytes(4096)
    file.write_bytes(content)
    ended = here.run("backup", "copy.db")

    assert ended.returncode == 1
    assert "damaged" in ended.stderr
    assert not (here.path / "copy.db").exists()


def test_backup_of_postgres_names_its_own_tools(here: Workplace) -> None:
    ended = here.run("backup", "copy.db", "--database", "postgresql://u:secret@127.0.0.1:9/h")

    assert ended.returncode == 1
    assert "pg_dump" in ended.stderr
    assert "pg_basebackup" in ended.stderr
    assert "secret" not in ended.stderr


def test_after_a_rotation_the_old_key_may_be_dropped(here: Workplace) -> None:
    server, _ = with_a_subscription(here)
    first = (here.path / "hookline.db.key").read_text().strip()

    refused = here.run("keys", "rotate", HOOKLINE_SECRET_KEY=f"{OTHER_KEY},{first}")
    assert refused.returncode == 1
    assert "in use by another Hookline" in refused.stderr
    server.end()
    closed = here.run("keys", "rotate", HOOKLINE_SECRET_KEY=OTHER_KEY)
    assert closed.returncode == 1
    assert "Drop no key" in closed.stderr
    done = here.run("keys", "rotate", "--json", HOOKLINE_SECRET_KEY=f"{OTHER_KEY},{first}")
    assert json.loads(done.stdout) == {"sealed": 1, "current": 0, "closed": [], "damaged": []}
    here.start("serve", "--port", "0", HOOKLINE_SECRET_KEY=OTHER_KEY).wait_for("hookline ready on ")


def test_rotation_without_a_key_says_how_to_make_one(here: Workplace) -> None:
    here.run("company", "create", "Acme")
    ended = here.run("keys", "rotate")

    assert ended.returncode == 1
    assert "openssl rand -base64 32" in ended.stderr
    assert "HOOKLINE_SECRET_KEY=NEW,OLD hookline keys rotate" in ended.stderr
