"""Who may do what: every route, every role, every id that is not one's own."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from api.loopback import Server
from api.world import OPERATOR_TOKEN, World
from hookline.api.app import ROUTES, Route
from hookline.model import Role

ROLES = tuple(Role)
UNKNOWN = "1999999999"
NO_IDS = ("abc", "0", "-1", "1.5", "2147483648", "9007199254740992", "99999999999999999999", "%00", "%D9%A3")
VALID_BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/companies/{id}/tokens"): {"name": "a", "role": "viewer"},
    ("POST", "/v1/companies/{id}/accounts"): {"username": "a"},
}
GUARDED = [route for route in ROUTES if route.roles is not None]


def _named(route: Route) -> str:
    return f"{route.method} {route.path}"


def _filled(route: Route, **values: object) -> str:
    path = route.path
    for name in ("id", "tokenId", "accountId", "deliveryId", "eventId", "name"):
        path = path.replace(f"{{{name}}}", str(values.get(name, UNKNOWN)))
    return path


def _body(route: Route) -> Any:
    return VALID_BODIES.get((route.method, route.path), {}) if route.method in {"POST", "PUT", "PATCH"} else None


def _bare(body: bytes) -> dict[str, Any]:
    problem: dict[str, Any] = json.loads(body)
    assert problem.pop("instance").startswith(("/v1/", "/v2/"))
    return problem


@pytest.mark.parametrize("route", GUARDED, ids=_named)
def test_no_route_answers_without_a_token(server: Server, route: Route) -> None:
    answer = server.call(route.method, _filled(route), _body(route), token=None)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", GUARDED, ids=_named)
def test_a_role_may_what_the_table_says_and_nothing_else(
    server: Server, world: World, route: Route, role: Role
) -> None:
    assert route.roles is not None
    path = _filled(route)
    if role is Role.OPERATOR and route.method == "POST" and "companyId" not in path:
        path += f"?companyId={world.company}"
    answer = server.call(route.method, path, _body(route), token=world.tokens[role])
    if role not in route.roles:
        assert answer.status == 403, answer.body
    else:
        assert answer.status not in {401, 403, 500, 503}, answer.body


WITH_IDS = [route for route in GUARDED if "{id}" in route.path]


@pytest.mark.parametrize("route", WITH_IDS, ids=_named)
def test_what_is_no_id_answers_as_an_id_that_nobody_has(server: Server, world: World, route: Route) -> None:
    assert route.roles is not None
    for role in route.roles:
        unknown = server.call(route.method, _filled(route), _body(route), token=world.tokens[role])
        assert unknown.status == 404, unknown.body
        for no_id in NO_IDS:
            answer = server.call(route.method, _filled(route, id=no_id), _body(route), token=world.tokens[role])
            assert (answer.status, _bare(answer.body)) == (404, _bare(unknown.body)), no_id


REFUSED_HEADERS = [
    "",
    "Bearer",
    "Bearer ",
    "Basic dXNlcjpwYXNz",
    f"Token {OPERATOR_TOKEN}",
    OPERATOR_TOKEN,
    f"Bearer {OPERATOR_TOKEN}x",
    f"Bearer {OPERATOR_TOKEN[:-1]}",
    f"Bearer {OPERATOR_TOKEN} {OPERATOR_TOKEN}",
    f"Bearer\t{OPERATOR_TOKEN}",
    f'Bearer "{OPERATOR_TOKEN}"',
    "Bearer hkl_op_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "Bearer " + "\xff" * 40,
    "Bearer " + "a" * 10_000,
]


def test_every_refusal_of_a_token_has_the_same_bytes(server: Server) -> None:
    missing = server.call("GET", "/v1/me", token=None)
    for header in REFUSED_HEADERS:
        answer = server.call("GET", "/v1/me", token=None, headers={"Authorization": header})
        assert (answer.status, answer.body) == (401, missing.body), header
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_understood_in_any_case(server: Server, scheme: str) -> None:
    answer = server.call("GET", "/v1/me", token=None, headers={"Authorization": f"{scheme} {OPERATOR_TOKEN}"})
    assert answer.status == 200


def test_two_authorizations_are_as_good_as_none(server: Server) -> None:
    line = f"Authorization: Bearer {OPERATOR_TOKEN}\r\n"
    received = server.exchange(f"GET /v1/me HTTP/1.1\r\nHost: a\r\n{line}{line}Connection: close\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nowhere", "/v2/nowhere", "/v1/%77ebhooks/x/y/z", "/v2"])
def test_nothing_under_a_version_is_known_to_exist_without_a_token(server: Server, path: str) -> None:
    assert server.call("GET", path, token=None).status == 401
    assert server.call("GET", path).status == 404


def test_login_is_for_whoever_has_no_token(server: Server) -> None:
    assert server.call("POST", "/v1/login", {"username": "a"}, token=None).status == 400
    assert server.call("POST", "/v1/login/", {}, token=None).status == 401


def test_outside_the_versions_an_unknown_path_is_404_for_everyone(server: Server) -> None:
    assert server.call("GET", "/nowhere", token=None).status == 404
    assert server.call("GET", "//v1/me", token=None).status == 404


def test_another_method_is_405_and_says_which_there_are(server: Server) -> None:
    answer = server.call("PUT", "/v1/companies", {})
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST, HEAD")
    assert server.call("TRACE", "/v1/me").headers["allow"] == "GET, HEAD"
    assert server.call("POST", "/healthz", token=None).headers["allow"] == "GET, HEAD"


def test_head_answers_as_get_without_its_body(server: Server) -> None:
    got, headed = server.call("GET", "/v1/me"), server.call("HEAD", "/v1/me")
    assert (headed.status, headed.body) == (200, b"")
    assert headed.headers["content-length"] == got.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "nonsense", "*/*;q=0"])
def test_accept_is_never_a_reason_to_fail(server: Server, accept: str) -> None:
    assert server.call("GET", "/v1/me", headers={"Accept": accept}).status == 200
    assert server.call("DELETE", "/v1/companies/3", headers={"Accept": accept}).status == 404


def test_me_shows_the_company_of_a_member_and_none_for_an_operator(server: Server, world: World) -> None:
    assert server.call("GET", "/v1/me", token=world.tokens["member"]).json == {
        "company": {"id": world.company, "name": "Acme"},
        "user": None,
        "role": "member",
    }
    assert server.call("GET", "/v1/me").json == {"company": None, "user": None, "role": "operator"}


def test_every_answer_has_its_own_request_id_and_is_kept_by_no_cache(server: Server) -> None:
    answers = [
        server.call("GET", path, headers={"X-Request-Id": "mine"}) for path in ("/v1/me", "/v1/me", "/healthz", "/x")
    ]
    assert len({answer.headers["x-request-id"] for answer in answers} - {"mine"}) == 4
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.fixture(autouse=True)
def _still_there(server: Server, world: World) -> Iterator[None]:
    """Whatever a test here was answered, it changed nothing of the world."""
    yield
    assert server.call("GET", "/v1/me", token=world.tokens["member"]).status == 200
