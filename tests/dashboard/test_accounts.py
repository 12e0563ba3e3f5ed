"""Accounts in the dashboard: kept by the operator, signed in with by their owners, and signed out of everywhere."""

import re

import pytest

from api.loopback import Server
from api.world import World
from dashboard.browsing import Browser

PASSWORD = " correct horse, battery staple "


def make(operator: Browser, company: int, username: str, password: str = PASSWORD) -> bytes:
    """Make an account by the form; return the page that answers."""
    path = f"/companies/{company}/accounts"
    answer = operator.submit(path, path, username=username, password=password)
    assert answer.status == 200, answer.body
    return answer.body


def log_in(browser: Browser, username: str, password: str = PASSWORD) -> int:
    return browser.submit("/sign-in", "/sign-in/account", username=username, password=password).status


def test_an_account_is_made_listed_and_deleted(operator: Browser, server: Server, world: World) -> None:
    path = f"/companies/{world.company}/accounts"
    assert "No account yet" in operator.see(f"/companies/{world.other_company}/accounts").text
    made = make(operator, world.company, "ann@acme.example")
    secret = re.search(rb"hkl_secret_[\w-]+", made)
    assert secret
    page = operator.get(path).body
    assert b"ann@acme.example" in page
    assert secret[0] not in page
    assert b"Accounts" in operator.get(f"/companies/{world.company}").body
    (listed,) = server.call("GET", f"/v1{path}").json["items"]
    assert listed["hasPassword"] is True
    question = f"{path}/{listed['id']}/delete"
    assert "ann@acme.example is signed out" in operator.see(question).text
    assert operator.submit(question, question).status == 303
    assert server.call("GET", f"/v1{path}").json["items"] == []
    assert operator.get(question).status == 404


def test_without_a_password_it_is_a_programs(operator: Browser, server: Server, world: World) -> None:
    make(operator, world.company, "a program", password="")
    found = server.call("GET", f"/v1/companies/{world.company}/accounts").json["items"]
    assert [each["hasPassword"] for each in found if each["username"] == "a program"] == [False]


@pytest.mark.parametrize(("username", "status"), [("", 400), ("x" * 300, 400), ("twice", 409)])
def test_what_is_refused_is_told_and_what_was_typed_is_kept(
    operator: Browser, world: World, username: str, status: int
) -> None:
    if username == "twice":
        make(operator, world.other_company, username)
    path = f"/companies/{world.company}/accounts"
    answer = operator.submit(path, path, username=username, password="p")
    assert answer.status == status
    assert b"username-error" in answer.body
    assert f'value="{username}"'.encode() in answer.body


def test_an_account_of_another_company_is_not_there(operator: Browser, server: Server, world: World) -> None:
    make(operator, world.other_company, "of the other")
    (other,) = [
        each["id"]
        for each in server.call("GET", f"/v1/companies/{world.other_company}/accounts").json["items"]
        if each["username"] == "of the other"
    ]
    assert operator.get(f"/companies/{world.company}/accounts/{other}/delete").status == 404
    assert operator.get("/companies/1999999999/accounts").status == 404


def test_only_operators_see_accounts(member: Browser, viewer: Browser, world: World) -> None:
    for browser in (member, viewer):
        assert browser.get(f"/companies/{world.company}/accounts").status == 404


def test_an_account_signs_in_for_an_hour_as_a_member_of_its_company(
    operator: Browser, server: Server, world: World
) -> None:
    make(operator, world.company, "bob")
    browser = Browser(server)
    answer = browser.submit("/sign-in?next=/events", "/sign-in/account", username="bob", password=PASSWORD)
    assert (answer.status, answer.headers["location"]) == (303, "/events")
    assert "Max-Age=3600;" in answer.headers["set-cookie"]
    assert "account bob" in browser.see("/").text
    assert browser.get("/companies").status == 404
    assert browser.get("/subscriptions/new").status == 200
    server.clock.advance(3601)
    assert browser.get("/").status == 303


def test_a_wrong_password_and_an_unknown_name_are_told_alike(operator: Browser, server: Server, world: World) -> None:
    make(operator, world.company, "carol")
    said = set()
    for username, password in (("carol", PASSWORD.strip()), ("nobody", PASSWORD), ("carol", "")):
        browser = Browser(server)
        answer = browser.submit("/sign-in", "/sign-in/account", username=username, password=password)
        assert answer.status == 400
        assert "hookline" not in browser.cookies
        found = re.search(rb'id="account-error".*?</p>', answer.body, re.DOTALL)
        assert found
        said.add(found[0])
    assert len(said) == 1


def test_guessing_is_slowed_as_it_is_by_the_api(operator: Browser, server: Server, world: World) -> None:
    make(operator, world.company, "dora")
    assert [log_in(Browser(server), "dora", "wrong") for _ in range(11)] == [400] * 10 + [429]
    server.clock.advance(61)
    assert log_in(Browser(server), "dora") == 303


def test_signing_out_everywhere_ends_each_session_and_token_of_the_account_alone(
    operator: Browser, server: Server, world: World
) -> None:
    for name in ("eve", "frank"):
        make(operator, world.company, name)
    here, there, other = Browser(server), Browser(server), Browser(server)
    assert [log_in(browser, name) for browser, name in ((here, "eve"), (there, "eve"), (other, "frank"))] == [303] * 3
    token = server.call("POST", "/v1/login", {"username": "eve", "password": PASSWORD}, token=None).json["accessToken"]
    assert here.submit("/sign-out", "/sign-out/everywhere").status == 303
    assert [browser.get("/").status for browser in (here, there, other)] == [303, 303, 200]
    assert server.call("GET", "/v1/me", token=token).status == 401
    assert log_in(Browser(server), "eve") == 303


def test_a_token_is_offered_no_such_thing(member: Browser) -> None:
    form = member.see("/sign-out").forms
    assert "/sign-out/everywhere" not in [action for action, _ in form]
    key = next(fields["form_key"] for action, fields in form if action == "/sign-out")
    assert member.post("/sign-out/everywhere", {"form_key": key}).status == 409
    assert member.get("/").status == 200
