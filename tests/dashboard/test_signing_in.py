"""Who gets in, what the cookie is like, and that no form is believed that is not ours."""

import pytest

from api.loopback import Server
from api.world import OPERATOR_TOKEN, World
from dashboard.browsing import Browser, app_of


def test_a_page_sends_whoever_is_unknown_to_sign_in_and_back(server: Server) -> None:
    browser = Browser(server)
    answer = browser.get("/events/evt_1?whole=1")
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in?next=/events/evt_1%3Fwhole%3D1")
    browser.cookies = {}
    answer = browser.submit("/sign-in?next=/events/evt_1", "/sign-in", token=OPERATOR_TOKEN)
    assert (answer.status, answer.headers["location"]) == (303, "/events/evt_1")


@pytest.mark.parametrize("next_path", ["//evil.example/", "https://evil.example/", "/\\evil.example", "/a\nb"])
def test_signing_in_leads_nowhere_else(server: Server, next_path: str) -> None:
    answer = Browser(server).submit("/sign-in", "/sign-in", token=OPERATOR_TOKEN, next=next_path)
    assert answer.headers["location"] == "/"


def test_the_cookie_is_sealed_and_kept_from_scripts_and_strangers(server: Server, world: World) -> None:
    answer = Browser(server).submit("/sign-in", "/sign-in", token=world.tokens["member"])
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("hookline=")
    assert "HttpOnly; SameSite=Strict" in cookie
    assert world.tokens["member"] not in cookie


def test_behind_https_the_cookie_belongs_to_this_host_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Server(
        tmp_path_factory.mktemp("https"), {"HOOKLINE_PUBLIC_URL": "https://hooks.example.com"}, app_of=app_of
    )
    try:
        answer = Browser(server).submit("/sign-in", "/sign-in", token=OPERATOR_TOKEN)
        assert answer.headers["set-cookie"].startswith("__Host-hookline=")
        assert answer.headers["set-cookie"].endswith("; Secure")
    finally:
        server.close()


@pytest.mark.parametrize("token", ["", "wrong", "x" * 5000, "Ünicode"])
def test_a_wrong_token_is_told_at_the_field(server: Server, token: str) -> None:
    answer = Browser(server).submit("/sign-in", "/sign-in", token=token)
    assert answer.status == 400
    assert b"This token is not known here" in answer.body


def test_a_publisher_has_no_face(server: Server, world: World) -> None:
    assert Browser(server).submit("/sign-in", "/sign-in", token=world.tokens["publisher"]).status == 400


def test_a_form_without_its_key_does_nothing(server: Server) -> None:
    browser = Browser(server)
    browser.get("/sign-in")
    for key in ({}, {"form_key": "0" * 32}, {"form_key": "ü"}):
        answer = browser.post("/sign-in", {"token": OPERATOR_TOKEN, **key})
        assert answer.status == 403
        assert "hookline" not in browser.cookies


def test_the_key_of_another_session_does_nothing(member: Browser, operator: Browser) -> None:
    key = next(fields["form_key"] for action, fields in operator.see("/sign-out").forms if action == "/sign-out")
    assert member.post("/sign-out", {"form_key": key}).status == 403


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_form_from_another_site_does_nothing(member: Browser, headers: dict[str, str]) -> None:
    key = next(fields["form_key"] for action, fields in member.see("/sign-out").forms if action == "/sign-out")
    assert member.post("/sign-out", {"form_key": key}, **headers).status == 403
    assert member.get("/").status == 200


def test_signing_out_ends_the_session(member: Browser) -> None:
    assert member.submit("/sign-out", "/sign-out").status == 303
    assert member.get("/").status == 303


def test_signing_out_leaves_a_token_to_whoever_else_uses_it(member: Browser, server: Server, world: World) -> None:
    assert member.submit("/sign-out", "/sign-out").status == 303
    assert server.call("GET", "/v1/me", token=world.tokens["member"]).status == 200


def test_a_revoked_token_ends_its_sessions(server: Server, world: World) -> None:
    made = server.call("POST", f"/v1/companies/{world.company}/tokens", {"name": "soon gone", "role": "viewer"}).json
    browser = Browser(server).signed_in(made["token"])
    assert browser.get("/").status == 200
    assert server.call("DELETE", f"/v1/companies/{world.company}/tokens/{made['id']}").status == 204
    assert browser.get("/").status == 303


def test_a_session_ends_by_itself(server: Server, world: World) -> None:
    browser = Browser(server).signed_in(world.tokens["viewer"])
    server.clock.advance(12 * 3600 + 1)
    assert browser.get("/").status == 303


def test_a_changed_cookie_is_none(server: Server, world: World) -> None:
    browser = Browser(server).signed_in(world.tokens["viewer"])
    for value in (browser.cookies["hookline"][:-2] + "AA", "", "%%%", "A" * 5000):
        browser.cookies["hookline"] = value
        assert browser.get("/").status == 303


def test_a_link_from_elsewhere_is_followed_once_more_for_the_strict_cookie(server: Server) -> None:
    answer = Browser(server).get("/events/evt_1", **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert b'http-equiv="refresh"' in answer.body
    assert "set-cookie" not in answer.headers
