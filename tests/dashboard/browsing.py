"""A browser without script: it keeps cookies and fills in the forms that it is shown."""

from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlencode

from starlette.types import ASGIApp

from api.loopback import Answer, Server
from hookline.api.app import create_app
from hookline.api.context import Api
from hookline.dashboard.app import App, with_dashboard
from hookline.dashboard.assets import Assets
from hookline.dashboard.context import Dashboard
from hookline.dashboard.pages import Pages
from hookline.dashboard.sessions import Sessions


def app_of(api: Api) -> ASGIApp:
    """Put the dashboard beside the API, as `wiring` does."""
    assets = Assets()
    app = create_app(api)
    dashboard = Dashboard(
        storage=api.storage,
        authenticator=api.authenticator,
        sessions=Sessions(
            api.keyring,
            api.random_bytes,
            is_secure=api.settings.public_url.startswith("https://"),
            is_framed=bool(api.settings.portal_origins),
        ),
        links=api.links,
        assets=assets,
        pages=Pages(assets),
        clock=api.clock,
        random_bytes=api.random_bytes,
        settings=api.settings,
        telemetry=api.telemetry,
        api=app,
        is_draining=lambda: False,
    )
    return with_dashboard(app, App(dashboard))


class Seen(HTMLParser):
    """What a page holds: text as a person reads it, elements with their attributes, forms with their fields."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.forms: list[tuple[str, dict[str, str]]] = []
        self._tag = ""
        self._field = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._tag = tag
        self.elements.append((tag, attributes))
        if tag == "form":
            self.forms.append((attributes.get("action") or "", {}))
        if tag in {"input", "button"} and self.forms and attributes.get("name"):
            kind = attributes.get("type")
            if kind not in {"radio", "checkbox"} or "checked" in attributes:
                self.forms[-1][1][attributes["name"] or ""] = attributes.get("value") or ""

        if tag in {"textarea", "select"} and self.forms:
            self._field = attributes.get("name") or ""
            self.forms[-1][1][self._field] = ""
        if tag == "option" and self.forms and ("selected" in attributes or not self.forms[-1][1].get(self._field)):
            self.forms[-1][1][self._field] = attributes.get("value") or ""

    def handle_data(self, data: str) -> None:
        if self._tag == "textarea" and self.forms:
            self.forms[-1][1][self._field] += data
        if self._tag not in {"script", "style"}:
            self.text += data

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - as its parent calls it
        self._tag = ""

    def of(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)


class Browser:
    """One visitor."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookies: dict[str, str] = {}

    def signed_in(self, token: str) -> "Browser":
        answer = self.submit("/sign-in", "/sign-in", token=token)
        assert answer.status == 303, answer.body
        return self

    def get(self, path: str, **headers: str) -> Answer:
        return self._noted(self.server.call("GET", path, token=None, headers={**self._cookie(), **headers}))

    def see(self, path: str, status: int = 200) -> Seen:
        answer = self.get(path)
        assert answer.status == status, (answer.status, answer.body)
        return Seen(answer.body.decode())

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        sent = {**self._cookie(), "Content-Type": "application/x-www-form-urlencoded", **headers}
        return self._noted(self.server.call("POST", path, urlencode(fields).encode(), token=None, headers=sent))

    def submit(self, page: str, action: str, **fields: str) -> Answer:
        """Fill in the form of a page that goes to `action`, and send it."""
        found = [hidden for target, hidden in self.see(page).forms if target == action]
        assert found, f"{page} has no form to {action}"
        return self.post(action, {**found[0], **fields})

    def _cookie(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _noted(self, answer: Answer) -> Answer:
        for header in answer.set_cookies:
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer
