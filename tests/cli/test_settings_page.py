import re
from pathlib import Path

from hookline.config import OF_COMMANDS, SETTINGS

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `(HOOKLINE_\w+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def test_settings_page_lists_every_setting_with_its_default_and_meaning() -> None:
    documented = sorted(ROW.findall(PAGE.read_text(encoding="utf-8")))

    assert documented == sorted((setting.name, setting.default, setting.meaning) for setting in SETTINGS)


def test_settings_page_lists_every_variable_that_commands_read() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## For the command line")[2]

    assert re.findall(r"^\| `(HOOKLINE_\w+)` \|", section, re.MULTILINE) == list(OF_COMMANDS)
