"""What `pip install` brings is all that a server needs: built, installed and served away from this source tree."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "hookline"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("HOOKLINE_", "PYTHON"))}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the backend that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("hookline-*.whl")
    return built


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment's Python with the wheel in it, and its dependencies lent by this one: nothing is fetched.

    Its own packages come first, so that no file of the source tree stands in for one that the wheel lacks.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    python = folder / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
        capture_output=True,
        env=CLEAN,
    )
    lent = [
        entry
        for entry in Path(sysconfig.get_path("purelib")).iterdir()
        if "hookline" not in entry.name and not entry.name.endswith(".pth") and entry.name not in {"pip", "__pycache__"}
    ]
    for entry in lent:
        if not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)
    return python


def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    wanted = {
        f"hookline/{path.relative_to(SOURCE)}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert held == wanted
    assert any(name.endswith(".sql") for name in held)


def test_wheel_asks_for_the_dependencies_and_brings_the_license_and_the_command(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())

    asked = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert asked == set(project["dependencies"])
    assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "hookline = hookline.cli.main:main" in archive.read(f"{info}/entry_points.txt").decode()


def test_command_runs_from_the_wheel_alone(python: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [python, "-c", "import hookline; print(hookline.__file__)"],
        cwd=tmp_path,
        env=CLEAN,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    shown = subprocess.run(
        [python.parent / "hookline", "--version"], cwd=tmp_path, env=CLEAN, check=True, capture_output=True, text=True
    ).stdout

    assert where.startswith(str(python.parents[1]))
    assert shown.startswith("hookline ")


@contextmanager
def serving(python: Path, folder: Path) -> Iterator[str]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [python.parent / "hookline", "serve", "--dev", "--port", "0"],
            cwd=folder,
            env={**CLEAN, "HOOKLINE_DRAIN_SECONDS": "0"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("hookline ready on "), (folder / "log").read_text()
        yield first.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_development_server_serves_from_the_wheel_alone(python: Path, tmp_path: Path) -> None:
    with serving(python, tmp_path) as url:
        for path in ("/readyz", "/openapi.json", "/"):
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                assert answer.status == 200, path
        listed = subprocess.run(
            [python.parent / "hookline", "company", "list", "--json"],
            cwd=tmp_path,
            env=CLEAN,
            check=True,
            capture_output=True,
            text=True,
        )
        assert json.loads(listed.stdout) == []
