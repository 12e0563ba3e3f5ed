"""The page on backups: its commands copy a server at work, and its steps bring back the moment of the copy."""

import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from e2e.harness import CLEAN, Server

PAGE: Final = Path(__file__).parents[2] / "docs" / "backup.md"


def test_the_steps_of_the_page_bring_back_the_moment_of_the_copy(tmp_path: Path) -> None:
    backup, try_it = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    database = tmp_path / "hookline.db"
    backups = tmp_path / "backups"
    backups.mkdir()
    with closing(Server(tmp_path, f"sqlite:///{database}").start()) as server, closing(server.client()) as operator:
        company = operator.company()
        operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": "http://127.0.0.1:9099/"})
        kept = operator.publish(company)
        run(tmp_path, backup.replace("/backups/", f"{backups}/"))
        later = operator.publish(company)
        server.stop()
        [copy] = backups.iterdir()
        shutil.copy(copy, database)
        for name in ("hookline.db-wal", "hookline.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        shutil.copy(copy, tmp_path / "copy.db")
        server.set(HOOKLINE_ROLES="api").start()
        assert [operator.call("GET", f"/v1/events/{event}").status for event in (kept, later)] == [200, 404]
        told = run(tmp_path, f"HOOKLINE_SECRET_KEY={SECRET_KEY} {try_it}")
    assert "✓ database" in told
    assert "✓ key" in told, "it opens the secret of the subscription"


SECRET_KEY: Final = "ZW5kLXRvLWVuZC10ZXN0cy1zZWFsLXdpdGgtdGhpcyE="
"""The harness starts servers with it."""


def run(directory: Path, commands: str) -> str:
    """Run commands of the page; return what they said."""
    program = f'hookline() {{ {sys.executable} -m hookline "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", program + commands],
        cwd=directory,
        env=CLEAN,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
