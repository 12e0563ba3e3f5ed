"""A setting is right or the start is refused, naming the variable and never its secret."""

import ast
import base64
import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline import config
from hookline.config import SETTINGS, EgressProxy, Settings, from_environment, misspelt
from hookline.errors import StartRefused

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()
KEYED = {"HOOKLINE_SECRET_KEY": KEY}
DEVELOPMENT = {"HOOKLINE_MODE": "development"}


def _read(**variables: str) -> Settings:
    return from_environment(KEYED | {f"HOOKLINE_{name}": text for name, text in variables.items()})


def _proxy(host: str, port: int, credential: str | None = None) -> EgressProxy:
    address = ip_address(host) if host[0].isdigit() or ":" in host else None
    return EgressProxy(host=host, port=port, address=address, credential=credential)


def test_the_defaults_are_those_of_the_contract() -> None:
    assert from_environment(KEYED) == Settings(
        database_url="sqlite:///hookline.db",
        is_development=False,
        roles=frozenset({"api", "engine"}),
        host="127.0.0.1",
        port=8080,
        public_url="http://127.0.0.1:8080",
        trusted_proxies=(),
        portal_origins=(),
        operator_token=None,
        secret_keys=(bytes(range(32)),),
        allow_http=False,
        egress_allow=(),
        egress_deny=(),
        egress_allow_hosts=(),
        egress_proxy=None,
        ca_file=None,
        nat64_prefix=None,
        retry_delays_seconds=(10, 60, 300),
        circuit=True,
        deactivate_after_days=5,
        event_source="http://127.0.0.1:8080",
        timeout_seconds_max=30,
        lease_seconds=45,
        max_in_flight=1000,
        host_max_in_flight=200,
        retention_days=30,
        quota_subscriptions=100,
        quota_events_per_second=None,
        quota_stored_bytes=None,
        rate_token_per_second=None,
        drain_seconds=5,
        migrate="apply",
    )


def test_development_allows_http_and_needs_no_key() -> None:
    settings = from_environment(DEVELOPMENT)
    assert (settings.is_development, settings.allow_http, settings.secret_keys) == (True, True, ())
    assert not from_environment(DEVELOPMENT | {"HOOKLINE_ALLOW_HTTP": "false"}).allow_http


def test_production_needs_a_key_and_is_told_how_to_make_one() -> None:
    with pytest.raises(StartRefused, match="openssl rand -base64 32"):
        from_environment({})
    assert from_environment({}, needs_secret_key=False).secret_keys == ()


@pytest.mark.parametrize("text", ["", "  "])
@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_an_empty_variable_is_an_absent_one(name: str, text: str) -> None:
    assert from_environment(DEVELOPMENT | {name: text} | DEVELOPMENT) == from_environment(DEVELOPMENT)


GOOD: list[tuple[str, str, str, Any]] = [
    ("DATABASE_URL", "sqlite:////var/lib/hookline.db", "database_url", "sqlite:////var/lib/hookline.db"),
    ("DATABASE_URL", "postgresql://u:p@a:5432,b:5432/x", "database_url", "postgresql://u:p@a:5432,b:5432/x"),
    ("ROLES", "api", "roles", frozenset({"api"})),
    ("ROLES", " Engine , api ", "roles", frozenset({"api", "engine"})),
    ("PORT", "0", "port", 0),
    ("PORT", "65535", "port", 65535),
    ("PUBLIC_URL", "https://hooks.example.com/", "public_url", "https://hooks.example.com"),
    ("PUBLIC_URL", "https://example.com:8443/hooks", "public_url", "https://example.com:8443/hooks"),
    ("TRUSTED_PROXIES", "10.0.0.0/8, ::1", "trusted_proxies", (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
    ("PORTAL_ORIGINS", "https://app.example.com", "portal_origins", ("https://app.example.com",)),
    (
        "PORTAL_ORIGINS",
        " https://a.example:8443,https://b.example\n https://a.example:8443, ",
        "portal_origins",
        ("https://a.example:8443", "https://b.example"),
    ),
    ("OPERATOR_TOKEN", "x" * 32, "operator_token", "x" * 32),
    ("OPERATOR_TOKEN", "~" * 256, "operator_token", "~" * 256),
    ("SECRET_KEY", f"{KEY}, {OTHER_KEY}", "secret_keys", (bytes(range(32)), bytes(32))),
    ("ALLOW_HTTP", "true", "allow_http", True),
    ("EGRESS_ALLOW", "192.168.0.0/16", "egress_allow", (ip_network("192.168.0.0/16"),)),
    ("EGRESS_ALLOW_HOSTS", "Hooks.Internal,b", "egress_allow_hosts", ("hooks.internal", "b")),
    ("EGRESS_PROXY", "http://Proxy.corp:3128", "egress_proxy", _proxy("proxy.corp", 3128)),
    ("EGRESS_PROXY", "http://10.0.0.7:80/", "egress_proxy", _proxy("10.0.0.7", 80)),
    ("EGRESS_PROXY", "http://[fd00::7]:80", "egress_proxy", _proxy("fd00::7", 80)),
    ("EGRESS_PROXY", "http://ann:p%40s%3a@p:1", "egress_proxy", _proxy("p", 1, "ann:p@s:")),
    ("CA_FILE", "/etc/ca.pem", "ca_file", "/etc/ca.pem"),
    ("NAT64_PREFIX", "2001:db8:64::/96", "nat64_prefix", ip_network("2001:db8:64::/96")),
    ("NAT64_PREFIX", "fd00::/48", "nat64_prefix", ip_network("fd00::/48")),
    ("RETRY_DELAYS_SECONDS", "1", "retry_delays_seconds", (1,)),
    ("RETRY_DELAYS_SECONDS", ",".join(["86400"] * 20), "retry_delays_seconds", (86_400,) * 20),
    ("EVENT_SOURCE", "urn:example:hooks", "event_source", "urn:example:hooks"),
    ("TIMEOUT_SECONDS_MAX", "1", "timeout_seconds_max", 1),
    ("LEASE_SECONDS", "43", "lease_seconds", 43),
    ("DRAIN_SECONDS", "0", "drain_seconds", 0),
    ("MIGRATE", "check", "migrate", "check"),
]


@pytest.mark.parametrize(("name", "text", "field", "expected"), GOOD)
def test_what_is_right_is_read(name: str, text: str, field: str, expected: Any) -> None:
    assert getattr(_read(**{name: text}), field) == expected


BAD = [
    ("PORTAL_ORIGINS", "app.example.com"),
    ("PORTAL_ORIGINS", "https://app.example.com/"),
    ("PORTAL_ORIGINS", "https://App.example.com"),
    ("PORTAL_ORIGINS", "https://*.example.com"),
    ("PORTAL_ORIGINS", "*"),
    ("PORTAL_ORIGINS", "https://a.example; script-src *"),
    ("PORTAL_ORIGINS", "https://u@a.example"),
    ("PORTAL_ORIGINS", "https://a.example:65536"),
    ("PORTAL_ORIGINS", "https://a.example:0"),
    ("PORTAL_ORIGINS", "https://[::1]"),
    ("PORTAL_ORIGINS", "http://app.example.com"),
    ("PORTAL_ORIGINS", "http://localhost:3000"),
    ("PORTAL_ORIGINS", "null"),
    ("PORTAL_ORIGINS", ","),
    ("PORTAL_ORIGINS", " ".join(f"https://{number}.example" for number in range(51))),
    ("MODE", "dev"),
    ("DATABASE_URL", "hookline.db"),
    ("DATABASE_URL", "sqlite://hookline.db"),
    ("DATABASE_URL", "sqlite:///"),
    ("DATABASE_URL", "sqlite:///:memory:"),
    ("DATABASE_URL", "mysql://localhost/x"),
    ("ROLES", "api,worker"),
    ("ROLES", ","),
    ("EGRESS_PROXY", "proxy:3128"),
    ("EGRESS_PROXY", "socks5://proxy:1080"),
    ("EGRESS_PROXY", "http://proxy"),
    ("EGRESS_PROXY", "http://proxy:0"),
    ("EGRESS_PROXY", "http://proxy:65536"),
    ("EGRESS_PROXY", "http://proxy:80/path"),
    ("EGRESS_PROXY", "http://ann@proxy:80"),
    ("EGRESS_PROXY", "http://:80"),
    ("NAT64_PREFIX", "2001:db8::/95"),
    ("NAT64_PREFIX", "2001:db8::1/96"),
    ("NAT64_PREFIX", "10.0.0.0/8"),
    ("NAT64_PREFIX", "64:ff9b::"),
    ("PORT", "-1"),
    ("PORT", "65536"),
    ("PORT", "80.0"),
    ("PORT", "8_080"),
    ("PORT", "٨٠"),
    ("PORT", "9" * 5_000),
    ("PUBLIC_URL", "hooks.example.com"),
    ("PUBLIC_URL", "ftp://hooks.example.com"),
    ("PUBLIC_URL", "https://"),
    ("PUBLIC_URL", "https://example.com/?a=1"),
    ("PUBLIC_URL", "https://example.com/?"),
    ("PUBLIC_URL", "https://example.com/#a"),
    ("PUBLIC_URL", "https://user:secret@example.com"),
    ("PUBLIC_URL", "https://example.com:99999"),
    ("PUBLIC_URL", "https://example.com:0"),
    ("PUBLIC_URL", "https://exam ple.com"),
    ("PUBLIC_URL", "https://[::1"),
    ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ("TRUSTED_PROXIES", "proxy.example.com"),
    ("OPERATOR_TOKEN", "x" * 31),
    ("OPERATOR_TOKEN", "x" * 257),
    ("OPERATOR_TOKEN", "x" * 31 + " x"),
    ("OPERATOR_TOKEN", "x" * 31 + "é"),
    ("SECRET_KEY", base64.b64encode(bytes(31)).decode()),
    ("SECRET_KEY", base64.b64encode(bytes(33)).decode()),
    ("SECRET_KEY", "x" * 32),
    ("SECRET_KEY", KEY + ","),
    ("SECRET_KEY", "é" * 44),
    ("SECRET_KEY", KEY[:-1] + "!"),
    ("ALLOW_HTTP", "yes"),
    ("EGRESS_DENY", "10.0.0.0/33"),
    ("EGRESS_ALLOW_HOSTS", "*.internal"),
    ("EGRESS_ALLOW_HOSTS", ".internal"),
    ("EGRESS_ALLOW_HOSTS", "https://hooks.internal"),
    ("EGRESS_ALLOW_HOSTS", "hooks.internal:443"),
    ("EVENT_SOURCE", "our hooks"),
    ("EVENT_SOURCE", "über"),
    ("RETRY_DELAYS_SECONDS", "0"),
    ("RETRY_DELAYS_SECONDS", "86401"),
    ("RETRY_DELAYS_SECONDS", "10,-1"),
    ("RETRY_DELAYS_SECONDS", "1.5"),
    ("RETRY_DELAYS_SECONDS", "²"),
    ("RETRY_DELAYS_SECONDS", "٣"),
    ("RETRY_DELAYS_SECONDS", "standard"),
    ("RETRY_DELAYS_SECONDS", ",".join(["1"] * 21)),
    ("TIMEOUT_SECONDS_MAX", "0"),
    ("MAX_IN_FLIGHT", "0"),
    ("QUOTA_SUBSCRIPTIONS", "many"),
    ("RATE_TOKEN_PER_SECOND", "0"),
    ("RATE_TOKEN_PER_SECOND", "1.5"),
    ("MIGRATE", "never"),
]


@pytest.mark.parametrize(("name", "text"), BAD)
def test_what_is_wrong_refuses_the_start_and_names_the_variable(name: str, text: str) -> None:
    with pytest.raises(StartRefused, match=f"^HOOKLINE_{name}: "):
        _read(**{name: text})


@pytest.mark.parametrize("name", ["OPERATOR_TOKEN", "SECRET_KEY", "DATABASE_URL"])
def test_a_refusal_does_not_repeat_a_secret(name: str) -> None:
    with pytest.raises(StartRefused) as refused:
        _read(**{name: "secret-value"})
    assert "secret-value" not in str(refused.value)


@pytest.mark.parametrize(
    ("timeout", "lease", "is_right"), [(30, 43, True), (30, 42, False), (1, 14, True), (1, 13, False)]
)
def test_a_lease_outlasts_the_longest_attempt(timeout: int, lease: int, is_right: bool) -> None:  # noqa: FBT001
    variables = {"TIMEOUT_SECONDS_MAX": str(timeout), "LEASE_SECONDS": str(lease)}
    if is_right:
        assert _read(**variables).lease_seconds == lease
    else:
        with pytest.raises(StartRefused, match=f"it must exceed {timeout + 12} "):
            _read(**variables)


@pytest.mark.parametrize(
    ("host", "proxies", "expected"),
    [
        ("127.0.0.1", "", True),
        ("127.9.9.9", "", True),
        ("::1", "", True),
        ("localhost", "", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("0.0.0.0", "", False),
        ("::", "", False),
        ("192.168.0.1", "", False),
        ("localhost.example.com", "", False),
    ],
)
def test_only_loopback_without_proxies_is_private(host: str, proxies: str, expected: bool) -> None:  # noqa: FBT001
    assert _read(HOST=host, TRUSTED_PROXIES=proxies).is_loopback_only is expected


def test_the_public_url_brackets_an_ipv6_host() -> None:
    assert _read(HOST="::1", PORT="80").public_url == "http://[::1]:80"
    assert _read(HOST="::1", PUBLIC_URL="https://a.example").event_source == "https://a.example"


class _Noting(Mapping[str, str]):
    """An environment that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> str:
        self.asked.append(name)
        return DEVELOPMENT[name]

    def __iter__(self) -> Iterator[str]:
        return iter(DEVELOPMENT)

    def __len__(self) -> int:
        return len(DEVELOPMENT)


@pytest.mark.parametrize(
    "text", ["https://ann:p4ss@proxy:3128", "http://ann:p4ss@proxy", "http://ann:p4ss@pro xy:1", "http://h:p4ss"]
)
def test_refused_proxy_is_not_repeated_with_its_password(text: str) -> None:
    with pytest.raises(StartRefused, match="HOOKLINE_EGRESS_PROXY: expected http://host:port") as caught:
        _read(EGRESS_PROXY=text)
    assert "p4ss" not in str(caught.value)


def test_every_setting_is_listed_and_read_once() -> None:
    environment = _Noting()
    from_environment(environment)
    assert sorted(environment.asked) == sorted(setting.name for setting in SETTINGS)
    assert all(setting.default and setting.meaning for setting in SETTINGS)


def test_every_field_is_set_by_the_environment() -> None:
    tree = ast.parse(inspect.getsource(config))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Settings"]
    assert [keyword.arg for keyword in calls[0].keywords] == [*Settings.__struct_fields__]


@given(st.sampled_from([setting.name for setting in SETTINGS]), st.text(max_size=60))
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    with suppress(StartRefused):
        from_environment(DEVELOPMENT | KEYED | {name: text})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HOOKLINE_PROT", "HOOKLINE_PORT"),
        ("HOOKLINE_SECRET_KEYS", "HOOKLINE_SECRET_KEY"),
        ("HOOKLINE_DATABASEURL", "HOOKLINE_DATABASE_URL"),
        ("HOOKLINE_EGRES_DENY", "HOOKLINE_EGRESS_DENY"),
    ],
)
def test_slip_in_a_name_is_told_with_what_was_meant(name: str, meant: str) -> None:
    assert misspelt({name: "1", **DEVELOPMENT}) == [(name, meant)]


def test_names_that_only_begin_alike_are_no_slips() -> None:
    set_by_clusters = [
        f"HOOKLINE_{end}" for end in ("SERVICE_HOST", "SERVICE_PORT", "PORT_8080_TCP_ADDR", "PORT_8080_TCP")
    ]
    of_ours = ["HOOKLINE_URL", "HOOKLINE_TOKEN", "HOOKLINE_SECRET", *(each.name for each in SETTINGS)]
    assert misspelt([*set_by_clusters, *of_ours, "PATH", "OTHER_PORT"]) == []


def test_in_development_pages_of_this_machine_may_frame_by_http_and_others_not() -> None:
    local = {"HOOKLINE_PORTAL_ORIGINS": "http://localhost:3000 http://127.0.0.1"}
    assert from_environment(DEVELOPMENT | local).portal_origins == ("http://localhost:3000", "http://127.0.0.1")
    with pytest.raises(StartRefused, match=r"HOOKLINE_PORTAL_ORIGINS.*https://app\.example\.com"):
        from_environment(DEVELOPMENT | {"HOOKLINE_PORTAL_ORIGINS": "http://app.example.com"})


def test_a_portal_that_no_browser_would_keep_a_session_of_is_refused() -> None:
    with pytest.raises(StartRefused, match="HOOKLINE_PUBLIC_URL"):
        _read(PORTAL_ORIGINS="https://app.example.com", PUBLIC_URL="http://hooks.example.com")
