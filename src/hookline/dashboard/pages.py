"""From facts to HTML. Everything is escaped by default, and a name that a template misspells is an error."""

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hookline.dashboard import words
from hookline.dashboard.assets import Assets

DIRECTORY: Final = Path(__file__).parent / "templates"


class Pages:
    """The templates, each compiled when it is first shown."""

    def __init__(self, assets: Assets) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(DIRECTORY),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["asset"] = assets.path
        self._environment.globals["words"] = words

    def render(self, name: str, **facts: Any) -> bytes:
        """Return a page."""
        return self._environment.get_template(name).render(**facts).encode("utf-8", "replace")
