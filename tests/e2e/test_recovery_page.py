"""The pages on recovery, replay and rotation work as they are written: each command is run, in order, in one shell."""

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .harness import CLEAN, Client, until
from .receiver import Receiver, Reply

PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("recovery.md", "replay.md", "rotate.md")]
SETTING = re.compile(r"^export \w+=", re.MULTILINE)


def test_every_command_of_the_pages_runs(operator: Client, receiver: Receiver) -> None:
    blocks = [re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL) for page in PAGES]
    assert all(SETTING.search(settings) for settings, *_ in blocks)
    commands = [command for _, *commands in blocks for command in commands]
    assert len(commands) == 6
    company = operator.company()
    receiver.answer("/page", Reply(503), Reply(200))
    body = {"callbackUrl": receiver.url("/page"), "retryDelaysSeconds": []}
    made = operator.made("POST", f"/v1/webhooks?companyId={company}", body)
    operator.publish(company)
    until(lambda: len(operator.log(made["id"])) == 1, "the failure is logged")
    member = operator.member_of(company)
    now = datetime.now(UTC)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho\n".join(commands)],
        env={
            **CLEAN,
            "HOOKLINE_URL": operator.url(),
            "HOOKLINE_TOKEN": member.token or "",
            "SUBSCRIPTION": str(made["id"]),
            "DELIVERY": str(operator.log(made["id"])[0]["deliveryId"]),
            "FROM": (now - timedelta(hours=12)).isoformat(),
            "TO": (now + timedelta(hours=12)).isoformat(),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert '"total":1' in run.stdout
    assert '"secret":"whsec_' in run.stdout
    arrivals = receiver.wait_at("/page", 3)  # the failure, what was sent again, the ping
    assert {b"webhook.ping" in arrival.body for arrival in arrivals} == {True, False}
