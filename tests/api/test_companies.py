"""Companies over HTTP."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from api.loopback import Server
from api.world import World


def test_a_company_is_made_read_renamed_and_removed(server: Server) -> None:
    made = server.call("POST", "/v1/companies", {"name": "  Globex ", "unknown": [1]})
    assert made.status == 201
    company = made.json
    assert company["name"] == "Globex"
    assert company["createdAt"] == "2026-11-18T11:06:40.000Z"
    path = f"/v1/companies/{company['id']}"
    assert server.call("GET", path).json == company
    changed = server.call("PATCH", path, {"retentionDays": 7})
    assert (changed.status, changed.json) == (200, company | {"retentionDays": 7})
    assert server.call("PATCH", path, {"name": "G"}).json == company | {"name": "G", "retentionDays": 7}
    assert server.call("PATCH", path, {"retentionDays": None}).json == company | {"name": "G"}
    assert server.call("PATCH", path, {}).json == server.call("GET", path).json
    gone = server.call("DELETE", path)
    assert (gone.status, gone.body) == (204, b"")
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"name": "x"})):
        assert server.call(method, path, body).status == 404


def test_changes_of_a_company_at_the_same_moment_take_nothing_back_from_each_other(server: Server) -> None:
    changes = [{"name": "New"}, {"retentionDays": 7}] * 10
    for _ in range(3):
        path = f"/v1/companies/{server.call('POST', '/v1/companies', {'name': 'Old'}).json['id']}"
        with ThreadPoolExecutor(len(changes)) as pool:
            answers = list(pool.map(lambda body, path=path: server.call("PATCH", path, body), changes))
        assert {answer.status for answer in answers} == {200}
        shown = server.call("GET", path).json
        assert (shown["name"], shown["retentionDays"]) == ("New", 7)


REFUSED = [
    ({}, "name"),
    ({"name": None}, "name"),
    ({"name": 5}, "name"),
    ({"name": ""}, "name"),
    ({"name": "   "}, "name"),
    ({"name": "a\u0000b"}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": "a" * 201}, "name"),
    ({"name": "a", "retentionDays": 0}, "retentionDays"),
    ({"name": "a", "retentionDays": 3651}, "retentionDays"),
    ({"name": "a", "retentionDays": 10**30}, "retentionDays"),
    ({"name": "a", "retentionDays": 1.5}, "retentionDays"),
    ({"name": "a", "retentionDays": True}, "retentionDays"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED)
def test_a_refused_member_is_named(server: Server, body: object, field: str) -> None:
    answer = server.call("POST", "/v1/companies", body)
    assert answer.status == 400
    assert [error["field"] for error in answer.json["validationErrors"]] == [field]
    assert answer.json["message"] == answer.json["detail"]


def test_names_of_all_scripts_are_kept(server: Server) -> None:
    for name in ("株式会社　例", "👩‍👩‍👧 Söhne", "a", "b" * 200):
        assert server.call("POST", "/v1/companies", {"name": name}).json["name"] == name


def test_a_list_is_walked_by_its_cursor(server: Server) -> None:
    for number in range(5):
        server.call("POST", "/v1/companies", {"name": f"walk {number}"})
    whole = server.call("GET", "/v1/companies").json
    assert whole["next"] is None
    walked, cursor = [], ""
    while True:
        page = server.call("GET", f"/v1/companies?limit=2&{cursor}").json
        assert len(page["items"]) <= 2
        walked += page["items"]
        if page["next"] is None:
            break
        cursor = f"cursor={page['next']}"
    assert walked == whole["items"] == sorted(walked, key=lambda company: company["id"])
    assert "operator" not in {company["name"] for company in walked}


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=x", "limit=", "cursor=", "limit=1e3", "cursor=x", "cursor=-1", "limit=%D9%A3"],
)
def test_a_bad_query_is_refused(server: Server, query: str) -> None:
    assert server.call("GET", f"/v1/companies?{query}").status == 400


def test_more_than_200_counts_as_200_and_unknown_parameters_as_nothing(server: Server) -> None:
    assert server.call("GET", "/v1/companies?limit=100000&nonsense=%FF&&=").status == 200


def test_the_built_in_company_is_neither_changed_nor_removed(server: Server) -> None:
    assert server.call("GET", "/v1/companies/1").json["name"] == "operator"
    assert server.call("PATCH", "/v1/companies/1", {"name": "x"}).status == 409
    assert server.call("DELETE", "/v1/companies/1?cascade=true").status == 409


def test_cascade_is_true_or_false(server: Server, world: World) -> None:
    assert server.call("DELETE", f"/v1/companies/{world.company}?cascade=yes").status == 400
    assert server.call("GET", f"/v1/companies/{world.company}").status == 200


def test_the_tokens_of_a_removed_company_end_with_it(server: Server) -> None:
    company = server.call("POST", "/v1/companies", {"name": "Brief"}).json["id"]
    token = server.call("POST", f"/v1/companies/{company}/tokens", {"name": "a", "role": "member"}).json["token"]
    assert server.call("GET", "/v1/me", token=token).status == 200
    assert server.call("DELETE", f"/v1/companies/{company}").status == 204
    assert server.call("GET", "/v1/me", token=token).status == 401
