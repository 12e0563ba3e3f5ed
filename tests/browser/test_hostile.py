"""Whatever strangers write, a page shows it as text: nothing runs, nothing is loaded, no policy is broken."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from browser import hostile
from browser.chromium import MISSING, PROGRAM
from browser.scene import subscribe
from e2e.harness import Client, Server, until
from e2e.receiver import Receiver, Reply

BODY_BYTES = 16 * 1024
FIELDS = 90
"""Of one answer's head; an attempt takes a hundred."""


@dataclass(frozen=True)
class World:
    """An installation in which every text that a stranger can choose is hostile."""

    server: Server
    receiver: Receiver
    operator: Client
    pages: list[str]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    directory = tmp_path_factory.mktemp("hostile")
    receiver = Receiver().start()
    server = Server(directory, f"sqlite:///{directory}/hookline.db").start()
    operator = server.client()
    world = World(server, receiver, operator, _written(operator, receiver))
    yield world
    operator.close()
    server.close()
    receiver.close()


def _written(operator: Client, receiver: Receiver) -> list[str]:
    """Write all texts wherever they may be written; return the pages that show them."""
    names = [name for text in hostile.TEXTS if (name := _named(operator, text)) is not None]
    assert len(names) >= 250, "most names are taken as they are"
    company = names[0]
    for number, text in enumerate(hostile.TEXTS[:200]):
        operator.call("POST", f"/v1/companies/{company}/tokens", {"name": text, "role": "viewer"})
        operator.call("POST", f"/v1/companies/{company}/accounts", {"username": text})
        operator.call("PUT", f"/v1/event-types/hostile.{number}", {"description": text})
    headers = [hostile.as_header(text) for text in hostile.TEXTS]
    answers = [
        Reply(
            500,
            headers={f"X-Hostile-{place}": value for place, value in enumerate(headers[start : start + FIELDS])},
            body="\n".join(hostile.TEXTS[start:]).encode()[:BODY_BYTES],
        )
        for start in range(0, len(headers), FIELDS)
    ]
    receiver.answer("/hostile", *answers)
    subscription = subscribe(operator, company, receiver.url("/hostile"), [1] * (len(answers) - 1))
    for start in range(0, 60, 12):
        _subscribe(operator, company, receiver, hostile.TEXTS[start * 5 : start * 5 + 40])
    data = {"texts": list(hostile.TEXTS), "members": dict.fromkeys(hostile.TEXTS, 1), "requestToken": hostile.TEXTS[3]}
    event = operator.publish(company, data)
    until(lambda: len(operator.log(subscription)) == len(answers), "the last attempt")
    delivery = operator.log(subscription)[0]["deliveryId"]
    its_own = f"/subscriptions/{subscription}"
    return [
        *("/", "/events", f"/events/{event}", f"/events/{event}?whole=1", "/subscriptions", its_own),
        *(f"{its_own}/edit", f"{its_own}/deliveries/{delivery}", f"{its_own}/deliveries/{delivery}?whole=1"),
        *("/subscriptions/new", "/companies", f"/companies?after={names[100]}", f"/companies?after={names[200]}"),
        *(f"/companies/{each}" for each in names[:3]),
        *("/tokens", "/event-types", "/audit", "/nodes", f"{its_own}/replay"),
    ]


def _named(operator: Client, text: str) -> int | None:
    answer = operator.call("POST", "/v1/companies", {"name": text})
    return answer.json["id"] if answer.status == 201 else None


def _subscribe(operator: Client, company: int, receiver: Receiver, texts: tuple[str, ...]) -> None:
    body = {
        "callbackUrl": receiver.url(f"/{hostile.as_path(texts[0])}"),
        "filter": {"or": [{"a": {"eq": text}} for text in texts]},
        "headers": {f"X-{number}": hostile.as_header(text) for number, text in enumerate(texts[:16])},
        "active": False,
    }
    answer = operator.call("POST", f"/v1/webhooks?companyId={company}", body)
    assert answer.status == 200, answer.body


def _is_clean(page: Any) -> None:
    assert page.evaluate("window.owned") is None
    assert (
        page.evaluate("document.querySelectorAll('body script, img, iframe, object, embed, base, style').length") == 0
    )
    assert page.evaluate("document.querySelectorAll('link, meta').length") == 5


def test_every_page_shows_hostile_texts_as_texts(watched: Any, scene: World) -> None:
    assert len(set(hostile.TEXTS)) == 300
    shown = ""
    for path in scene.pages:
        watched.goto(scene.server.url + path)
        _is_clean(watched)
        shown += watched.locator("main").evaluate("(node) => node.textContent")
    missing = [text for text in hostile.TEXTS if text.strip("\u202e\u2066") not in shown and "\u202e" not in text]
    assert missing == []


def test_a_search_repeats_hostile_texts_as_texts(watched: Any, scene: World) -> None:
    for text in hostile.TEXTS[::4]:
        watched.goto(f"{scene.server.url}/events?q={quote(text)}&from={quote(text)}&span={quote(text)}")
        _is_clean(watched)
        assert watched.locator("main input[name=q]").input_value() == text.strip()


def test_what_is_not_found_is_repeated_as_a_text(watched: Any, scene: World) -> None:
    for text in hostile.TEXTS[::7]:
        watched.goto(f"{scene.server.url}/find?q={quote(text)}&next={quote(text)}")
        _is_clean(watched)


def test_parameters_that_are_hostile_change_nothing(watched: Any, scene: World) -> None:
    for text in hostile.TEXTS[::25]:
        said = quote(text)
        watched.goto(f"{scene.server.url}/?range={said}&done={said}&live=")
        _is_clean(watched)
        watched.goto(f"{scene.server.url}/subscriptions?companyId={said}&after={said}&done={said}")
        _is_clean(watched)


def test_a_refused_form_keeps_hostile_texts_as_texts(watched: Any, scene: World) -> None:
    for text in hostile.TEXTS[::30]:
        watched.goto(f"{scene.server.url}/subscriptions/new")
        watched.fill("#url", f"http://127.0.0.1/{text}")
        watched.click("text=Create subscription")
        watched.wait_for_load_state()
        _is_clean(watched)
        assert watched.input_value("#url") == f"http://127.0.0.1/{text}"
