"""Pages work as they are written: the commands of each are run, in order, in one shell, against a real server."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from e2e.harness import CLEAN, OPERATOR_TOKEN, Client, Server

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGES: Final = {
    "subscribing.md": ('"secret":"whsec_', '"deliveryId":', '"totalElements":', '"active":false'),
    "publishing.md": ('"deliveries":0', "order-4712-paid"),
    "operational-events.md": ('"secret":"whsec_', "delivery.dead"),
    "accounts.md": ('"accessToken":"hkl_mem_', '"access_token":"hkl_mem_'),
    "retention.md": ('"retentionDays":7',),
}
"""What the answers hold."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    with closing(Server(directory, f"sqlite:///{directory}/hookline.db").start()) as server:
        yield server


@pytest.fixture
def operator(server: Server) -> Iterator[Client]:
    with closing(server.client()) as operator:
        yield operator


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_is_answered_well(server: Server, operator: Client, page: str) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    commands = [block for block in blocks if not block.startswith("export ")]
    company = operator.company()
    token = operator.member_of(company).token if "hkl_mem_" in blocks[0] else OPERATOR_TOKEN
    account = operator.made("POST", f"/v1/companies/{company}/accounts", {"username": f"program-{page}"})
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho\n".join(commands)],
        env={
            **CLEAN,
            "HOOKLINE_URL": server.url,
            "HOOKLINE_TOKEN": token or "",
            "COMPANY": str(company),
            "CALLBACK_URL": "http://127.0.0.1:9099/",
            "CLIENT_ID": account["clientId"],
            "CLIENT_SECRET": account["clientSecret"],
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "/problems/" not in run.stdout
    assert [text for text in PAGES[page] if text not in run.stdout] == []
