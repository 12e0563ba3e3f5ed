"""Accounts over HTTP: made once, signed in with, refused without a word too much, and gone at once."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from api.loopback import Answer, Server
from api.world import World
from hookline import accounts, passwords
from hookline.errors import Unavailable

FORM = "application/x-www-form-urlencoded"


class Company:
    """A company of its own, with one account."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.id: int = server.call("POST", "/v1/companies", {"name": "Acme"}).json["id"]
        self.path = f"/v1/companies/{self.id}/accounts"
        self.username = f"ann of {self.id}"
        self.account = self.create(username=self.username, password="correct horse")

    def create(self, **members: Any) -> Any:
        answer = self.server.call("POST", self.path, members)
        assert answer.status == 201, answer.body
        return answer.json

    def log_in(self, username: str | None = None, password: str = "correct horse") -> Answer:
        body = {"username": username or self.username, "password": password}
        return self.server.call("POST", "/v1/login", body, token=None)

    def ask(self, header: str | None = None, **form: str) -> Answer:
        headers = {"Content-Type": FORM} | ({"Authorization": header} if header else {})
        form = {"grant_type": "client_credentials"} | form
        return self.server.call("POST", "/oauth2/token", urlencode(form).encode(), token=None, headers=headers)

    def ask_rightly(self) -> Answer:
        return self.ask(client_id=self.account["clientId"], client_secret=self.account["clientSecret"])

    def me(self, token: str) -> Answer:
        return self.server.call("GET", "/v1/me", token=token)


@pytest.fixture
def company(server: Server) -> Company:
    server.clock.advance(120)  # what failed in an earlier test is forgotten
    return Company(server)


# --- the operator's side ---------------------------------------------------------------------------------------------


def test_an_account_is_made_listed_and_deleted(company: Company) -> None:
    made = company.account
    assert made.pop("clientSecret").startswith("hkl_secret_")
    assert (made["username"], made["companyId"], made["hasPassword"]) == (company.username, company.id, True)
    program = company.create(username=f"program of {company.id}", password=None)
    assert not program["hasPassword"]
    listed = company.server.call("GET", company.path).json
    assert listed == {
        "items": sorted([made, {k: v for k, v in program.items() if k != "clientSecret"}], key=lambda each: each["id"]),
        "next": None,
    }
    assert company.server.call("GET", f"{company.path}/{made['id']}").json == made
    assert company.server.call("GET", f"{company.path}/1999999999").status == 404
    page = company.server.call("GET", f"{company.path}?limit=1").json
    assert company.server.call("GET", f"{company.path}?cursor={page['next']}").json["items"] == listed["items"][1:]
    assert company.server.call("DELETE", f"{company.path}/{program['id']}").status == 204
    assert company.server.call("DELETE", f"{company.path}/{program['id']}").status == 404
    assert company.server.call("GET", company.path).json["items"] == [made]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "username"),
        ({"username": ""}, "username"),
        ({"username": " \n"}, "username"),
        ({"username": 5}, "username"),
        ({"username": "a" * 201}, "username"),
        ({"username": "a\0b"}, "username"),
        ({"username": "x", "password": ""}, "password"),
        ({"username": "x", "password": "p" * 1025}, "password"),
        ({"username": "x", "password": 7}, "password"),
    ],
)
def test_what_is_refused_is_named(company: Company, body: Any, field: str) -> None:
    answer = company.server.call("POST", company.path, body)
    assert (answer.status, [each["field"] for each in answer.json["validationErrors"]]) == (400, [field])


def test_a_username_is_given_once_in_the_installation(company: Company, world: World) -> None:
    path = f"/v1/companies/{world.company}/accounts"
    assert company.server.call("POST", path, {"username": company.username}).status == 409
    assert company.server.call("DELETE", f"{company.path}/{company.account['id']}").status == 204
    assert company.server.call("POST", path, {"username": company.username}).status == 201


def test_another_companys_account_does_not_exist(company: Company, world: World) -> None:
    foreign = f"/v1/companies/{world.company}/accounts/{company.account['id']}"
    assert company.server.call("DELETE", foreign).status == 404
    assert company.server.call("GET", foreign).status == 404
    assert company.server.call("POST", "/v1/companies/1999999999/accounts", {"username": "x"}).status == 404
    assert company.log_in().status == 200


# --- signing in ------------------------------------------------------------------------------------------------------


def test_a_login_brings_a_member_token_for_an_hour(company: Company) -> None:
    answer = company.log_in()
    assert answer.status == 200
    token = answer.json["accessToken"]
    assert answer.json == {"accessToken": token, "tokenType": "Bearer", "expiresIn": 3600}
    assert company.me(token).json == {
        "company": {"id": company.id, "name": "Acme"},
        "user": {"id": company.account["id"], "username": company.username},
        "role": "member",
    }
    assert company.server.call("GET", "/v1/companies", token=token).status == 403
    company.server.clock.advance(3599)
    assert company.me(token).status == 200
    company.server.clock.advance(1)
    assert company.me(token).status == 401


def test_a_client_shows_itself_in_the_form_or_as_basic(company: Company) -> None:
    client_id, secret = company.account["clientId"], company.account["clientSecret"]
    pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    encoded = base64.b64encode(f"{client_id.replace('_', '%5F')}:{secret}".encode()).decode()
    answers = [
        company.ask_rightly(),
        company.ask(client_id=client_id, client_secret=secret, scope="anything", more="ignored"),
        company.ask(f"Basic {pair}"),
        company.ask(f"basic {pair}", client_id=client_id),
        company.ask(f"Basic {encoded}"),
    ]
    for answer in answers:
        assert answer.status == 200, answer.body
        token = answer.json["access_token"]
        assert answer.json == {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
        assert answer.headers["content-type"] == "application/json"
        assert company.me(token).json["user"]["username"] == company.username
    assert len({answer.json["access_token"] for answer in answers}) == len(answers)


def test_signing_in_floods_no_list(company: Company) -> None:
    tokens = [company.ask_rightly().json["access_token"] for _ in range(20)]
    assert company.server.call("GET", f"/v1/companies/{company.id}/tokens").json["items"] == []
    assert all(company.me(token).status == 200 for token in tokens)


@pytest.mark.parametrize("whole_company", [False, True])
def test_tokens_go_with_their_account_and_its_company(company: Company, *, whole_company: bool) -> None:
    tokens = [company.log_in().json["accessToken"], company.ask_rightly().json["access_token"]]
    assert [company.me(token).status for token in tokens] == [200, 200]
    path = f"/v1/companies/{company.id}" if whole_company else f"{company.path}/{company.account['id']}"
    assert company.server.call("DELETE", path).status == 204
    assert [company.me(token).status for token in tokens] == [401, 401]
    assert (company.log_in().status, company.ask_rightly().status) == (401, 401)


def test_a_wrong_name_and_a_wrong_password_are_refused_in_the_same_words(company: Company) -> None:
    program = company.create(username=f"program of {company.id}")
    refusals = [
        company.log_in(password="wrong"),
        company.log_in(password=""),
        company.log_in(password="Correct horse"),
        company.log_in(username="nobody at all"),
        company.log_in(username="nul\0"),
        company.log_in(username=company.username.upper()),
        company.log_in(username=program["username"], password=""),
        company.log_in(username="x" * 100_000),
    ]
    assert {(answer.status, answer.headers["www-authenticate"], answer.body) for answer in refusals} == {
        (401, "Bearer", refusals[0].body)
    }


def test_every_refused_login_stretches_one_password(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    program = company.create(username=f"program of {company.id}")
    costs: list[str] = []

    def watched(password: str, stored: str) -> bool:
        costs.append(stored.rpartition("$")[0].rpartition("$")[0])
        return passwords.is_right(password, stored)

    monkeypatch.setattr(accounts, "passwords", SimpleNamespace(is_right=watched, of_nobody=passwords.of_nobody))
    for username in (company.username, "nobody at all", program["username"], "nul\0"):
        assert company.log_in(username, "wrong").status == 401
    assert costs == ["$scrypt$ln=14,r=8,p=5"] * 4, "the same work whether the name exists or not"


def test_a_wrong_client_and_a_wrong_secret_are_refused_in_the_same_words(company: Company) -> None:
    right_id, right_secret = company.account["clientId"], company.account["clientSecret"]
    other = company.create(username=f"other of {company.id}")
    right_pair = f"{right_id}:{right_secret}"
    refusals = [
        company.ask(client_id=right_id, client_secret="wrong"),
        company.ask(client_id=right_id, client_secret=other["clientSecret"]),
        company.ask(client_id=right_id),
        company.ask(client_secret=right_secret),
        company.ask(),
        company.ask(client_id="client_1999999999", client_secret=right_secret),
        company.ask(client_id=right_id.replace("_", "_0"), client_secret=right_secret),
        company.ask(client_id="client_99999999999999999999", client_secret=right_secret),
        company.ask(client_id="ümläut", client_secret="ü\0"),
        company.ask("Basic " + base64.b64encode(right_pair[:-1].encode()).decode()),
        company.ask("Basic " + base64.b64encode(right_id.encode()).decode()),
        company.ask("Basic " + base64.b64encode(b"\xff:\xff").decode()),
        company.ask("Basic !!!"),
        company.ask("Bearer " + right_secret),
    ]
    assert {(answer.status, answer.headers["www-authenticate"], answer.body) for answer in refusals} == {
        (401, 'Basic realm="hookline"', refusals[0].body)
    }
    assert (refusals[0].json["error"], bool(refusals[0].json["error_description"])) == ("invalid_client", True)


def test_every_refusal_is_a_problem_and_an_oauth_error(company: Company) -> None:
    client = {"client_id": company.account["clientId"], "client_secret": company.account["clientSecret"]}
    pair = base64.b64encode(":".join(client.values()).encode()).decode()

    def send(body: bytes, **headers: str) -> Answer:
        return company.server.call("POST", "/oauth2/token", body, token=None, headers={"Content-Type": FORM} | headers)

    good = urlencode({"grant_type": "client_credentials"} | client).encode()
    refusals = [
        (company.ask(grant_type="password", **client), 400, "unsupported_grant_type"),
        (company.ask(grant_type="", **client), 400, "invalid_request"),
        (send(urlencode(client).encode()), 400, "invalid_request"),
        (send(b""), 400, "invalid_request"),
        (send(good + b"&client_id=x"), 400, "invalid_request"),
        (send(good + b"&a=%ff"), 400, "invalid_request"),
        (send("grant_type=ü".encode()), 400, "invalid_request"),
        (company.ask(f"Basic {pair}", **client), 400, "invalid_request"),
        (company.ask(f"Basic {pair}", client_id="client_5"), 400, "invalid_request"),
        (send(b"{}", **{"Content-Type": "application/json"}), 415, "invalid_request"),
        (send(b"a=" + b"b" * 2**20), 413, "invalid_request"),
    ]
    company.server.faults.failing = Unavailable("The database is away.")
    refusals.append((company.ask_rightly(), 503, "temporarily_unavailable"))
    company.server.faults.failing = None
    for answer, status, error in refusals:
        assert (answer.status, answer.json["error"]) == (status, error), answer.body
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "instance", "message", "validationErrors"} <= answer.json.keys()
        description = answer.json["error_description"]
        assert description
        assert all(" " <= character <= "~" and character not in '"\\\\' for character in description)
    assert send(good).status == 200
    assert company.server.call("GET", "/oauth2/token", token=None).headers["allow"] == "POST"


# --- failing too often -----------------------------------------------------------------------------------------------


def test_the_eleventh_failure_within_a_minute_waits_even_with_the_right_secret(company: Company) -> None:
    wrong = {"client_id": company.account["clientId"], "client_secret": "wrong"}
    for _ in range(10):
        assert company.ask(**wrong).status == 401
    company.server.clock.advance(20)
    refused = company.ask_rightly()
    assert (refused.status, refused.headers["retry-after"]) == (429, "40")
    assert refused.json["error"] == "temporarily_unavailable"
    assert company.ask(client_id="client_7", client_secret="wrong").status == 401, "another name does not wait"
    company.server.clock.advance(39)
    assert company.ask_rightly().headers["retry-after"] == "1"
    company.server.clock.advance(1)
    assert company.ask_rightly().status == 200


def test_logins_wait_too_and_many_at_once_come_no_further(company: Company) -> None:
    with ThreadPoolExecutor(15) as pool:
        statuses = list(pool.map(lambda _: company.log_in(password="wrong").status, range(15)))
    assert sorted(statuses) == [401] * 10 + [429] * 5
    assert company.log_in().status == 429
    assert company.ask_rightly().status == 200
    company.server.clock.advance(60)
    assert company.log_in().status == 200


def test_signing_in_often_and_rightly_is_no_failure(company: Company) -> None:
    assert [company.ask_rightly().status for _ in range(15)] == [200] * 15
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: company.ask_rightly().status, range(24)))
    assert answers == [200] * 24


def test_a_database_that_is_away_is_no_failure_of_the_caller(company: Company) -> None:
    company.server.faults.failing = Unavailable("The database is away.")
    assert [company.ask_rightly().status for _ in range(12)] == [503] * 12
    company.server.faults.failing = None
    assert company.ask_rightly().status == 200


def test_a_crowd_at_the_login_is_told_to_come_again(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "WAITING_MAX", 0)
    answer = company.log_in()
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")


def test_others_are_answered_while_a_password_is_stretched(company: Company) -> None:
    with ThreadPoolExecutor(8) as pool:
        logins = [pool.submit(company.log_in) for _ in range(6)]
        served = 0
        while not all(login.done() for login in logins):
            assert company.server.call("GET", "/healthz", token=None).status == 200
            served += 1
    assert {login.result().status for login in logins} == {200}
    assert served > len(logins), "a blocked loop would have answered between the logins alone"


def test_nothing_of_a_secret_is_stored_in_clear(company: Company, tmp_path_factory: pytest.TempPathFactory) -> None:
    token = company.log_in().json["accessToken"]
    secret = company.account["clientSecret"]
    stored = company.server.run(company.server.storage.account(company.account["id"]))
    assert stored is not None
    assert "correct horse" not in json.dumps(stored.password)
    assert secret.encode() not in stored.secret_hash
    files = list(tmp_path_factory.getbasetemp().rglob("hookline.db*"))
    assert files
    for file in files:
        content = file.read_bytes()
        assert not [text for text in ("correct horse", secret, token) if text.encode() in content]
