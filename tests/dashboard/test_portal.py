"""The portal by HTTP: a link opens one session of one company, and only listed origins may frame it."""

from collections.abc import Iterator

import pytest

from api.loopback import Answer, Server, StorageIn
from api.world import World
from dashboard.browsing import Browser, app_of

FRAMER = "https://app.example.com"
FRAMED = {
    "HOOKLINE_PUBLIC_URL": "https://hooks.example.com",
    "HOOKLINE_PORTAL_ORIGINS": f"{FRAMER} https://b.example:8443",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, storage_in: StorageIn) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("portal"), storage_in=storage_in, app_of=app_of)
    yield server
    server.close()


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("framed"), FRAMED, app_of=app_of)
    yield server
    server.close()


def code_of(server: Server, company: int, role: str = "viewer") -> str:
    answer = server.call("POST", f"/v1/companies/{company}/portal-links", {"role": role})
    code: str = answer.json["url"].partition("/portal#")[2]
    return code


def enter(browser: Browser, code: str, **headers: str) -> Answer:
    return browser.post("/portal", {"code": code}, **headers)


def in_portal(server: Server, company: int, role: str = "viewer") -> Browser:
    browser = Browser(server)
    assert enter(browser, code_of(server, company, role)).status == 303
    return browser


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_a_link_shows_the_face_of_its_company_and_role(server: Server, world: World, role: str) -> None:
    browser = in_portal(server, world.company, role)
    assert browser.see("/").text.count("Companies") == 0
    assert browser.get("/companies").status == 404
    assert browser.get("/subscriptions/new").status == (200 if role == "member" else 404)
    assert browser.see("/").text.count("portal") > 0


def test_a_member_by_link_may_change_things_of_its_company_alone(server: Server, world: World) -> None:
    browser = in_portal(server, world.company, "member")
    answer = browser.submit("/subscriptions/new", "/subscriptions/new", callbackUrl="https://a.example.com/")
    assert answer.status == 200
    listed = server.call("GET", f"/v1/webhooks?companyId={world.company}").json
    assert "https://a.example.com/" in [each["callbackUrl"] for each in listed]
    assert in_portal(server, world.other_company).see("/subscriptions").text.count("a.example.com") == 0


def test_a_link_opens_once_and_says_so_in_words(server: Server, world: World) -> None:
    code = code_of(server, world.company)
    assert enter(Browser(server), code).status == 303
    second = Browser(server)
    answer = enter(second, code)
    assert answer.status == 410
    assert b"has been used, or its time is over" in answer.body
    assert code.encode() not in answer.body
    assert second.get("/").status == 303


def test_a_link_has_five_minutes_and_its_session_an_hour(server: Server, world: World) -> None:
    late, soon = code_of(server, world.company), code_of(server, world.company)
    server.clock.advance(299)
    browser = Browser(server)
    assert "Max-Age=3600;" in enter(browser, soon).headers["set-cookie"]
    server.clock.advance(2)
    assert enter(Browser(server), late).status == 410
    server.clock.advance(3600 - 3)
    assert browser.get("/").status == 200
    server.clock.advance(2)
    assert browser.get("/").status == 303


@pytest.mark.parametrize("code", ["", "hkl_link_", "hkl_link_" + "A" * 49, "\0", "ü" * 3000])
def test_what_is_no_code_is_refused_in_words(server: Server, code: str) -> None:
    answer = enter(Browser(server), code)
    assert answer.status == 410
    assert b"Go back to where you got it" in answer.body


def test_the_code_is_in_no_address_and_the_page_says_what_to_do_without_script(server: Server) -> None:
    page = Browser(server).see("/portal")
    assert ("/portal", {"code": ""}) in page.forms
    assert "paste it here" in page.text


def test_deleting_the_company_ends_its_portals(server: Server) -> None:
    company = server.call("POST", "/v1/companies", {"name": "Going"}).json["id"]
    browser, unused = in_portal(server, company), code_of(server, company)
    assert browser.get("/").status == 200
    assert server.call("DELETE", f"/v1/companies/{company}").status == 204
    assert browser.get("/").status == 303
    assert enter(Browser(server), unused).status == 410


def test_another_site_can_let_nobody_in(server: Server, world: World) -> None:
    code = code_of(server, world.company)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert enter(Browser(server), code, **headers).status == 403
    assert enter(Browser(server), code).status == 303


def test_a_portal_leaves_another_session_alone_and_the_newest_is_shown(server: Server, world: World) -> None:
    browser = Browser(server).signed_in(world.tokens["operator"])
    server.clock.advance(1)
    assert enter(browser, code_of(server, world.company)).status == 303
    assert browser.get("/companies").status == 404
    del browser.cookies["hookline-portal"]
    assert browser.get("/companies").status == 200


def test_signing_out_ends_both(server: Server, world: World) -> None:
    browser = Browser(server).signed_in(world.tokens["operator"])
    server.clock.advance(1)
    enter(browser, code_of(server, world.company))
    assert browser.submit("/sign-out", "/sign-out").status == 303
    assert browser.get("/").status == 303


def test_a_cookie_copied_from_a_portal_is_worth_nothing_once_it_is_signed_out(server: Server, world: World) -> None:
    browser, thief = in_portal(server, world.company), Browser(server)
    thief.cookies = dict(browser.cookies)
    assert thief.get("/").status == 200
    assert browser.submit("/sign-out", "/sign-out").status == 303
    assert thief.get("/").status == 303


def test_a_portals_cookie_is_worth_nothing_under_the_other_name(server: Server, world: World) -> None:
    browser = in_portal(server, world.company)
    browser.cookies = {"hookline": browser.cookies["hookline-portal"]}
    assert browser.get("/").status == 303


# --- frames ----------------------------------------------------------------------------------------------------------


def test_nobody_frames_a_page_unless_listed(server: Server, world: World) -> None:
    browser = Browser(server).signed_in(world.tokens["viewer"])
    for path in ("/", "/portal", "/sign-in", "/companies", "/events/none"):
        headers = browser.get(path).headers
        assert headers["content-security-policy"].endswith("frame-ancestors 'none'")
        assert headers["x-frame-options"] == "DENY"


def test_listed_origins_may_frame_every_page(framed: Server) -> None:
    world = World.build(framed.call)
    browser = Browser(framed).signed_in(world.tokens["viewer"])
    for path in ("/", "/portal", "/sign-in", "/companies", "/events/none"):
        headers = browser.get(path).headers
        assert headers["content-security-policy"].endswith(f"frame-ancestors {FRAMER} https://b.example:8443")
        assert "x-frame-options" not in headers


def test_only_a_portals_cookie_goes_into_frames_and_only_where_somebody_may_frame(
    server: Server, world: World, framed: Server
) -> None:
    strict = enter(Browser(server), code_of(server, world.company)).headers["set-cookie"]
    assert "SameSite=Strict" in strict
    assert "Partitioned" not in strict
    other = World.build(framed.call)
    loose = enter(Browser(framed), code_of(framed, other.company)).headers["set-cookie"]
    assert loose.startswith("__Host-hookline-portal=")
    assert "SameSite=None; Partitioned; Secure" in loose
    own = Browser(framed).submit("/sign-in", "/sign-in", token=other.tokens["member"]).headers["set-cookie"]
    assert "SameSite=Strict; Secure" in own


def test_a_cookie_that_strangers_pages_send_changes_nothing_without_the_forms_key(framed: Server) -> None:
    world = World.build(framed.call)
    browser = in_portal(framed, world.company, "member")
    form = next(fields for action, fields in browser.see("/subscriptions/new").forms if action == "/subscriptions/new")
    wanted = {**form, "callbackUrl": "https://evil.example.com/"}
    for fields, headers in (
        ({**wanted, "form_key": ""}, {}),
        ({**wanted, "form_key": "0" * 32}, {}),
        (wanted, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}),
        (wanted, {"Origin": FRAMER}),
        (wanted, {"Sec-Fetch-Site": "cross-site"}),
    ):
        assert browser.post("/subscriptions/new", fields, **headers).status == 403
    assert framed.call("GET", f"/v1/webhooks?companyId={world.company}").json == []
    assert browser.post("/subscriptions/new", wanted).status == 200


def test_a_frame_whose_session_has_ended_says_so_instead_of_asking_for_a_token(framed: Server) -> None:
    answer = Browser(framed).get("/", **{"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"})
    assert answer.status == 403
    assert b"This session has ended" in answer.body
    assert b'name="token"' not in answer.body


def test_preferences_go_wherever_the_session_goes(framed: Server) -> None:
    world = World.build(framed.call)
    for browser, reach in (
        (in_portal(framed, world.company), "SameSite=None; Partitioned; Secure"),
        (Browser(framed).signed_in(world.tokens["viewer"]), "SameSite=Strict; Secure"),
    ):
        answer = browser.submit("/preferences", "/preferences", theme="dark", zone="Europe/Berlin")
        assert len(answer.set_cookies) == 2
        assert all(cookie.endswith(reach) for cookie in answer.set_cookies)
        assert ("data-framed" in next(browser.see("/").of("html"))) == ("Partitioned" in reach)
