import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from processes import PROGRAM, Workplace

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
UNNESTED = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
"""These tests may be run by make itself."""
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workplace]:
    with closing(Workplace(tmp_path)) as workplace:
        yield workplace


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def commands_of(part: str) -> str:
    """The commands of a part of the README, in order."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    part = readme.partition(f"<!-- {part}: begin -->")[2].partition(f"<!-- {part}: end -->")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", part, re.DOTALL))


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README types curl")
def test_five_minutes_of_the_readme_work_as_written(here: Workplace) -> None:
    server = here.serve()
    url = server.lines[0].split()[-1]
    receiver = free_port()
    install(here.path / ".venv" / "bin")
    commands = (
        pausing(commands_of("five minutes"), before=("ID=",))
        .replace("http://127.0.0.1:8080", url)
        .replace("http://127.0.0.1:9000/", f"http://127.0.0.1:{receiver}/")
        .replace("--port 9000", f"--port {receiver}")
    )
    shell = here.shell(commands)
    assert '"secret":"whsec_' in shell.wait_for("callbackUrl")
    shell.wait_for("attempt 1")
    shell.wait_for("X-Hub-Signature-256 ✓ valid   webhook-signature ✓ valid   answered ✗ 503")
    assert '"hours":1.10' in shell.wait_for("noteToken")
    shell.wait_for("X-Hub-Signature-256 ✓ valid   webhook-signature ✓ valid   answered ✓ 200")
    assert '"hours":1.10' in shell.wait_for("noteToken")
    while here.run("deliveries", "--json").stdout.count('"attemptNumber"') < 2:
        pass  # the receiver knows of an attempt before the log does
    shell.say("")
    assert '"totalElements":2' in shell.wait_for("totalElements")
    shell.wait_for("✓ 200")
    shell.wait_for("✗ 503")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the README types openssl")
def test_the_start_for_production_works_as_written(here: Workplace) -> None:
    install(here.path / "bin")
    commands = commands_of("production").replace("hookline serve", "hookline serve --port 0")
    shell = here.shell(f'export PATH="{here.path}/bin:$PATH"\n{commands}')
    url = shell.wait_for("hookline ready on http://127.0.0.1:").split()[-1]
    operator, publisher = re.findall(r"hkl_[\w-]+", "".join(shell.lines))

    def run(token: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return here.run(*arguments, HOOKLINE_URL=url, HOOKLINE_TOKEN=token)

    made = run(operator, "company", "create", "Acme", "--json")
    company = re.findall(r'"id": ?(\d+)', made.stdout)[0]
    assert run(publisher, "publish", "note.created", "--company", company, "--data", "{}").returncode == 0
    refused = run(publisher, "company", "create", "Beta")
    assert refused.returncode == 1, "a publisher publishes and does nothing else"


def install(directory: Path) -> None:
    """Put an executable named hookline there, as an installation does."""
    directory.mkdir(parents=True)
    script = directory / "hookline"
    script.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n', encoding="utf-8")
    script.chmod(0o755)


def pausing(script: str, before: tuple[str, ...]) -> str:
    """Let the script wait for a line of input at some of its commands, as a person reads what came."""
    for command in before:
        start = script.index(f"\n{command}") + 1
        script = f"{script[:start]}read -r _\n{script[start:]}"
    return script


def anchors(page: Path) -> set[str]:
    """Name the headings of a page as links do: in lower case, punctuation gone, a dash for each space."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


def dead(page: Path) -> list[str]:
    """Return the links of a page within the repository that lead nowhere."""
    found = []
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        if "://" in path:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(f"{path}#{anchor}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    assert dead(page) == []


@pytest.mark.parametrize(
    "link", ["[a](nowhere.md)", "[a](page.md#nowhere)", "[a](#nowhere)", "![a](images/nowhere.svg)"]
)
def test_a_planted_link_that_leads_nowhere_is_found(link: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# One `thing`, two\n\n[b](#one-thing-two) [c](https://www.example.org/#x) {link}\n", "utf-8")

    assert len(dead(page)) == 1


def test_every_guarantee_of_the_readme_names_a_test_that_exists() -> None:
    named = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))

    assert len(named) >= 10
    assert [name for name, path in named if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")] == []


def test_make_lists_every_target_by_default() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, env=UNNESTED, capture_output=True, text=True, check=True
    ).stdout
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())

    assert {line.split()[1] for line in listed.splitlines()} == targets
    assert {"run", "test", "check", "bench", "demo"} <= targets


def test_missing_venv_module_gets_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "requirements-dev.lock", tmp_path)
    bare = tmp_path / "python-without-venv"
    bare.write_text(f'#!/bin/sh\ncase "$2" in *venv*) exit 1;; esac\nexec {sys.executable} "$@"\n', encoding="utf-8")
    bare.chmod(0o755)
    ended = subprocess.run(
        ["make", "test", f"PYTHON={bare}"], cwd=tmp_path, env=UNNESTED, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert "apt-get install python3-venv" in ended.stderr
    assert not (tmp_path / ".venv").exists()
