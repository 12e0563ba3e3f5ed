import base64
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import typer
from processes import PROGRAM, Workplace

from hookline.cli.main import app

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workplace]:
    """A workplace without a server."""
    with closing(Workplace(tmp_path)) as workplace:
        yield workplace


@pytest.fixture
def beside(here: Workplace) -> Workplace:
    """A workplace with a development server."""
    here.serve()
    return here


def leaves() -> dict[str, Any]:
    """Every command by its full name."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            found |= {f"{name} {inner}": each for inner, each in command.commands.items()}
        else:
            found[name] = command
    return found


# --- help ------------------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['hookline', '--help']\n"
        "from hookline.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print('loaded:', *sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    loaded = set(shown.rpartition("loaded:")[2].split())
    assert "typer" in loaded
    heavy = {"apsw", "asyncpg", "asyncio", "cryptography", "pydantic", "rich", "starlette", "uvicorn", "uvloop"}
    assert not heavy & loaded


@pytest.mark.parametrize("name", leaves())
def test_every_command_has_an_example_of_itself(name: str) -> None:
    assert f"Example: hookline {name}" in str(leaves()[name].epilog)


@pytest.mark.parametrize("group", sorted({name.split()[0] for name in leaves() if " " in name}))
def test_every_group_of_commands_has_the_example_of_one_of_its_own(group: str) -> None:
    epilog = str(typer.main.get_command(app).commands[group].epilog)  # type: ignore[attr-defined]

    assert epilog in {command.epilog for name, command in leaves().items() if name.split()[0] == group}


@pytest.mark.parametrize("name", leaves())
def test_commands_page_names_every_command_with_the_example_of_its_help(name: str) -> None:
    example = str(leaves()[name].epilog).removeprefix("\b\nExample: ")
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")

    assert re.search(rf"^\| `hookline {name}` \| .* \| `{re.escape(example)}` \|$", page, re.MULTILINE)


@pytest.mark.parametrize("name", leaves())
def test_every_option_says_what_it_does(name: str) -> None:
    silent = [each.name for each in leaves()[name].params if not getattr(each, "help", None)]

    assert silent == []


def test_shells_complete_commands() -> None:
    asked = {"_HOOKLINE_COMPLETE": "complete_bash", "COMP_WORDS": "hookline de", "COMP_CWORD": "1"}
    main = "import sys; sys.argv = ['hookline']; from hookline.cli.main import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", main], env={**os.environ, **asked}, check=False, capture_output=True, text=True
    ).stdout

    assert {"deliveries", "demo"} <= set(shown.split())
    assert "serve" not in shown.split()


def test_unknown_command_is_a_usage_error_that_names_the_help(here: Workplace) -> None:
    ended = here.run("serv")

    assert ended.returncode == 2
    assert "--help" in ended.stderr


# --- without a server ------------------------------------------------------------------------------------------------


def test_production_without_a_key_says_how_to_make_one(here: Workplace) -> None:
    ended = here.run("serve")

    assert ended.returncode == 1
    assert "openssl rand -base64 32" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_slip_in_the_name_of_a_variable_is_told_at_the_start(here: Workplace) -> None:
    ended = here.run("serve", HOOKLINE_SECRET_KEYS="x")

    assert ended.returncode == 1
    assert "HOOKLINE_SECRET_KEYS is no setting and is ignored. Is HOOKLINE_SECRET_KEY meant?" in ended.stderr


def test_publish_without_a_server_says_how_to_start_one(here: Workplace) -> None:
    ended = here.run("publish", "note.created", "--company", "2")

    assert ended.returncode == 3
    assert "hookline serve --dev" in ended.stderr


def test_server_that_does_not_answer_is_told_from_one_that_refuses(here: Workplace) -> None:
    ended = here.run("deliveries", "2", "--url", "http://127.0.0.1:9", "--token", "x" * 32)

    assert ended.returncode == 3
    assert "did not answer" in ended.stderr


def test_companies_and_tokens_are_made_in_the_database_itself_where_no_server_runs(here: Workplace) -> None:
    company = json.loads(here.run("company", "create", "Acme", "--json").stdout)
    made = json.loads(
        here.run("token", "create", "admin", "--role", "member", "--company", str(company["id"]), "--json").stdout
    )
    companies = json.loads(here.run("company", "list", "--json").stdout)
    tokens = json.loads(here.run("token", "list", "--company", str(company["id"]), "--json").stdout)

    assert companies == [company]
    assert company["name"] == "Acme"
    assert made.pop("token").startswith("hkl_mem_")
    assert tokens == [made]


def test_operator_token_made_before_the_first_start_opens_the_server(here: Workplace) -> None:
    token = here.run("token", "create", "first").stdout.strip()
    server = here.start("serve", "--dev", "--port", "0")
    url = server.wait_for("hookline ready on ").split()[-1]

    assert here.run("company", "list", "--json", "--url", url, "--token", token).stdout == "[]\n"


def test_serve_refuses_a_key_that_opens_nothing_in_the_database(here: Workplace) -> None:
    server = here.serve()
    listener = here.start("listen", "--create")
    listener.wait_for("Listening on")
    listener.end(signal.SIGKILL)  # so that its subscription stays
    server.end(signal.SIGINT)
    first, other = (here.path / "hookline.db.key").read_text().strip(), base64.b64encode(bytes(32)).decode()

    ended = here.run("serve", "--port", "0", HOOKLINE_SECRET_KEY=other)
    assert ended.returncode == 1
    assert "HOOKLINE_SECRET_KEY does not open" in ended.stderr
    assert "Traceback" not in ended.stderr
    here.start("serve", "--port", "0", HOOKLINE_SECRET_KEY=f"{other},{first}").wait_for("hookline ready on ")


def test_token_is_revoked_in_the_database_itself(here: Workplace) -> None:
    made = json.loads(here.run("token", "create", "first", "--json").stdout)

    assert here.run("token", "revoke", str(made["id"])).returncode == 0
    assert json.loads(here.run("token", "list", "--json").stdout) == []
    assert here.run("token", "revoke", str(made["id"])).returncode == 1


def test_listing_creates_no_database(here: Workplace) -> None:
    ended = here.run("company", "list")

    assert ended.returncode == 1
    assert "there is no database at" in ended.stderr
    assert list(here.path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "create", "x", "--role", "member"),
        ("token", "create", "x", "--role", "publisher", "--company", "2"),
        ("token", "create", "x", "--expires-at", "tomorrow"),
        ("token", "create", "x", "--expires-at", "2027-01-01T00:00:00"),
        ("listen", "--secret", "typo"),
        ("listen", "--forward-to", "127.0.0.1:3000"),
        ("listen", "--secret", "whsec_AAAA", "--create"),
        ("company", "list", "--url", "http://127.0.0.1:9", "--token", "täuschung"),
        ("company", "list", "--url", "http://127.0.0.1:nine", "--token", "x"),
        ("publish", "x", "--company", "2", "--idempotency-key", "a b", "--url", "http://127.0.0.1:9", "--token", "x"),
        ("publish", "note.created", "--company", "2", "--data", "{", "--url", "http://127.0.0.1:9", "--token", "x"),
        ("publish", "note.created", "--company", "2", "--data", "[]", "--url", "http://127.0.0.1:9", "--token", "x"),
        ("publish", "note.created", "--company", "2", "--data", "@none", "--url", "http://127.0.0.1:9", "--token", "x"),
    ],
)
def test_contradictions_are_usage_errors_with_a_next_step(here: Workplace, arguments: tuple[str, ...]) -> None:
    ended = here.run(*arguments)

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 2
    assert ended.stdout == ""


def test_migrate_names_the_schema(here: Workplace) -> None:
    assert json.loads(here.run("migrate", "--json").stdout)["schema"] >= 1


def test_distribute_prints_statements_and_touches_nothing(here: Workplace) -> None:
    ended = here.run("distribute")

    assert "SELECT create_reference_table('companies');" in ended.stdout
    assert "SELECT create_distributed_table('deliveries', 'bucket'" in ended.stdout
    assert list(here.path.iterdir()) == []


def test_distribute_refuses_a_database_that_is_a_file(here: Workplace) -> None:
    ended = here.run("distribute", "--apply")

    assert ended.returncode == 1
    assert "Citus" in ended.stderr


# --- beside a server -------------------------------------------------------------------------------------------------


def test_note_beside_the_database_is_private_and_goes_with_the_server(here: Workplace) -> None:
    server = here.serve()
    note = here.path / "hookline.db.local"

    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert sorted(json.loads(note.read_text(encoding="utf-8"))) == ["token", "url"]
    assert server.end(signal.SIGTERM) == 0
    assert not note.exists()


def test_token_of_the_note_is_a_new_one_at_each_start(here: Workplace) -> None:
    notes = []
    for _ in range(2):
        server = here.start("serve", "--dev", "--port", "0")
        server.wait_for("hookline ready on ")
        notes.append(json.loads((here.path / "hookline.db.local").read_text(encoding="utf-8")))
        if len(notes) == 1:
            server.end()
    old, new = notes

    assert here.run("company", "list", "--url", new["url"], "--token", new["token"]).returncode == 0
    refused = here.run("company", "list", "--url", new["url"], "--token", old["token"])
    assert refused.returncode == 1
    assert "401" in refused.stderr


def test_note_of_a_killed_server_is_not_trusted(here: Workplace) -> None:
    server = here.serve()
    server.end(signal.SIGKILL)

    assert "working on hookline.db itself" in here.run("company", "create", "Acme").stderr


def test_database_in_use_is_refused_with_a_reason(beside: Workplace) -> None:
    ended = beside.run("company", "list", "--database", "sqlite:///hookline.db")

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr


def test_publish_reaches_a_created_listener_genuine_and_byte_for_byte(beside: Workplace) -> None:
    listener = beside.start("listen", "--create", "--count", "3", "--fail", "2", "--json")
    company = re.findall(r"of company (\d+)", listener.wait_for("of company"))[0]
    listener.wait_for("Listening on")
    published = beside.run(
        "publish", "note.created", "--company", company, "--data", "-", "--json", stdin='{ "n": 1.10, "n": 1e400 }'
    )
    event = json.loads(published.stdout)
    requests = [json.loads(listener.wait_for('"webhookId"')) for _ in range(3)]

    assert listener.process.wait(30) == 0
    assert [each["webhookId"] for each in requests] == [event["id"]] * 3
    assert [each["attempt"] for each in requests] == ["1", "2", "3"]
    assert [each["answered"] for each in requests] == [503, 503, 200]
    assert {each["hubSignature"] for each in requests} == {each["standardSignature"] for each in requests} == {"valid"}
    assert len({each["body"] for each in requests}) == 1
    assert '"n":1.10,"n":1e400,' in requests[0]["body"]


def test_listener_removes_the_subscription_that_it_made(beside: Workplace) -> None:
    listener = beside.start("listen", "--create")
    listener.wait_for("Listening on")
    listener.end(signal.SIGINT)

    assert "there is no subscription yet" in beside.run("deliveries").stderr


def test_deliveries_shows_each_attempt_of_the_only_subscription(beside: Workplace) -> None:
    listener = beside.start("listen", "--create", "--fail", "1")
    company = re.findall(r"of company (\d+)", listener.wait_for("of company"))[0]
    listener.wait_for("Listening on")
    assert beside.run("publish", "note.created", "--company", company).returncode == 0
    listener.wait_for("answered ✗ 503")
    listener.wait_for("answered ✓ 200")
    log: dict[str, list[dict[str, object]]] = {"content": []}
    while len(log["content"]) < 2:  # the receiver knows of an attempt before the log does
        log = json.loads(beside.run("deliveries", "--json").stdout)

    assert [row["httpStatus"] for row in log["content"]] == [200, 503]
    shown = beside.run("deliveries").stdout
    assert "✓ 200" in shown
    assert "✗ 503" in shown
    assert "2 attempts" in shown
    failed = json.loads(beside.run("deliveries", "--status", "failed", "--json").stdout)
    assert [row["httpStatus"] for row in failed["content"]] == [503]


def test_unknown_event_type_names_the_remedy(beside: Workplace) -> None:
    company = json.loads(beside.run("company", "create", "Acme", "--json").stdout)
    ended = beside.run("publish", "order.paid", "--company", str(company["id"]))

    assert ended.returncode == 1
    assert "PUT /v1/event-types/order.paid" in ended.stderr


def test_https_to_a_server_without_tls_says_to_leave_the_s_out(beside: Workplace) -> None:
    url = json.loads((beside.path / "hookline.db.local").read_text())["url"]
    ended = beside.run("deliveries", "--url", url.replace("http:", "https:"), "--token", "any")

    assert ended.returncode == 3
    assert "http://" in ended.stderr.splitlines()[-1]


# --- the first minute ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="the first steps are typed with curl")
def test_first_steps_work_as_printed_and_pasted_at_once(here: Workplace) -> None:
    server = here.serve()
    server.wait_for("Next, in another terminal")
    server.wait_for("$COMPANY")
    server.wait_for("# 3.")
    server.wait_for("note.created")
    printed = "".join(server.lines)
    script = printed[printed.index("# 1.") :]
    shell = here.shell(f"{script}\nwait")
    shell.wait_for("company ")
    shell.wait_for("attempt 1")
    shell.wait_for("X-Hub-Signature-256 ✓ valid   webhook-signature ✓ valid   answered ✗ 503")
    shell.wait_for("X-Hub-Signature-256 ✓ valid   webhook-signature ✓ valid   answered ✓ 200")


def test_bench_measures_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*PROGRAM, "bench", "--events", "50", "--connections", "4", "--json"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout)
    assert figures["events"] == 50
    assert 0 < figures["answeredMsP50"] <= figures["answeredMsP99"] <= figures["answeredMsMax"]
    assert 0 < figures["deliveredPerSecond"] <= figures["publishedPerSecond"]
    assert list(tmp_path.iterdir()) == []


def test_demo_shows_everything_in_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    begun = monotonic()
    ended = subprocess.run(
        [*PROGRAM, "demo"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert monotonic() - begun < 30
    assert ended.stdout.count("X-Hub-Signature-256 ✓ valid   webhook-signature ✓ valid") == 3
    assert ended.stdout.count("answered ✗ 503") == 2
    assert ended.stdout.count("answered ✓ 200") == 1
    assert "Retries wait 1, 2 and 3" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_demo_cleans_up_also_where_it_is_ended_midway(here: Workplace) -> None:
    demo = here.start("demo", TMPDIR=str(here.path))
    demo.wait_for("What arrives")
    servers = [int(folder.name) for folder in Path("/proc").iterdir() if is_demo_server(folder, here.path)]
    demo.process.send_signal(signal.SIGTERM)

    assert demo.process.wait(30) == 130
    assert len(servers) == 1
    assert not Path(f"/proc/{servers[0]}").exists()
    assert list(here.path.iterdir()) == []


def is_demo_server(folder: Path, within: Path) -> bool:
    """Tell whether this is the process of a server whose database lies within a directory."""
    try:
        arguments = (folder / "cmdline").read_bytes()
    except OSError:
        return False
    return folder.name.isdigit() and b"serve" in arguments and str(within).encode() in arguments


def test_module_and_script_are_one_program() -> None:
    script = Path(sys.executable).with_name("hookline")
    versions = {
        subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
        for command in (PROGRAM, [str(script)])
    }

    assert len(versions) == 1


def test_a_portal_link_is_made_for_the_company_it_names(here: Workplace) -> None:
    here.serve()
    company = json.loads(here.run("company", "create", "Acme", "--json").stdout)["id"]

    ended = here.run("company", "portal-link", str(company), "--role", "member")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/portal#hkl_link_[\w-]{49}\n", ended.stdout), ended
    assert "one member" in ended.stderr
    assert json.loads(here.run("company", "portal-link", str(company), "--json").stdout).keys() == {"url", "expiresAt"}
    assert here.run("company", "portal-link", "1999999999").returncode != 0
