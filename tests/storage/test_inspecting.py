"""Both engines show to a reader what they rest on, beside a storage that is open, and change nothing."""

import pytest
from storage_samples import populate

from hookline.config import from_environment
from hookline.storage.postgres.inspecting import inspect
from hookline.storage.protocol import Storage
from hookline.wiring import inspect as inspect_any

pytestmark = pytest.mark.anyio


async def test_postgres_shows_its_guarantees_and_its_clock(postgres_url: str) -> None:
    found = await inspect(postgres_url)

    assert found.schema == found.schema_wanted
    assert {each.name for each in found.guarantees} == {"fsync", "full_page_writes", "synchronous_commit", "version"}
    assert found.wall_ms is not None


async def test_postgres_without_durability_is_told(postgres_url: str) -> None:
    found = await inspect(f"{postgres_url}{'&' if '?' in postgres_url else '?'}synchronous_commit=off")

    assert [each.name for each in found.guarantees if not each.is_kept and each.name == "synchronous_commit"]


async def test_subscriptions_and_backlog_of_postgres_are_shown(postgres_url: str) -> None:
    settings = from_environment({"HOOKLINE_DATABASE_URL": postgres_url}, needs_secret_key=False)
    found = await inspect_any(settings)

    assert found.backlog is not None
    assert found.subscriptions == ()


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_open_sqlite_file_is_read_beside_its_server(storage: Storage, tmp_path: object) -> None:
    await populate(storage, {101: [1001, 1002]})
    url = f"sqlite:///{tmp_path}/hookline.db"
    found = await inspect_any(from_environment({"HOOKLINE_DATABASE_URL": url}, needs_secret_key=False))

    assert [each.id for each in found.subscriptions] == [1001, 1002]
    assert all(each.is_kept for each in found.guarantees)
    assert found.damage == ()
