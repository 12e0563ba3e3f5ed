"""Which callback URLs pass: a table of what is refused, with why, and of what is not."""

from ipaddress import IPv6Network, ip_address, ip_network

import pytest

from hookline.config import from_environment
from hookline.egress.url import (
    ALLOW_ADDRESSES,
    ALLOW_HOSTS,
    ALLOW_HTTP,
    BLOCKED_PORTS,
    DENY_ADDRESSES,
    UrlRefused,
    UrlRules,
    judge_destination,
    parse,
    rules_of,
)

PRODUCTION = UrlRules(
    own_addresses=(ip_address("198.51.99.5"),), own_port=8080, own_host="hooks.example.com", deny_networks=()
)
DEVELOPMENT = UrlRules(
    allow_http=True, allow_loopback=True, own_addresses=(ip_address("127.0.0.1"),), own_port=8080, own_host="127.0.0.1"
)

ACCEPTED = """
https://example.com
https://example.com/
https://example.com/hook
https://api.acme.example/webhooks/v1?source=hookline&x=1
https://example.net?x=1
https://example.org/a/../b/./c//d
https://example.com:8443/hook
https://example.com:443/
https://EXAMPLE.com/Hook
HTTPS://example.com/
https://xn--bcher-kva.example/
https://a-b.c-d.example/
https://1and1.com/
https://3.example/
https://0x7f.example/
https://127.0.0.1.nip.io/
https://localhost.example.com/
https://internal.example.com/
https://example.com/%00%0a%E2%82%AC?q=%23%5c
https://example.com/a;b=c,d/!$&'()*+=:@~._-
https://example.com/?a=https://other.example/?b
https://example.com/@user
https://8.8.8.8/
https://1.1.1.1:8443/hook
https://[2606:4700:4700::1111]/
https://[2606:4700:4700::1111]:8443/hook
https://[2606:4700:4700:0:0:0:0:1111]/
https://[2A00:1450::1]/
https://[64:ff9b::8.8.8.8]/
https://hooks.example.org/
https://sub.hooks.example.com/
https://svc.example/
https://metadata.google.com/
https://x.dev/
https://198.51.99.5/
"""

REFUSED = [
    # (url, a part of the message, the setting that would allow it)
    *(
        (url, "begins with https://", None)
        for url in (
            *(
                "",
                "example.com",
                "//example.com/",
                "https:",
                "https:/",
                "https:example.com",
                "https:/example.com",
                "/hook",
            ),
            *(
                "ftp://example.com/",
                "file:///etc/passwd",
                "gopher://example.com/",
                "javascript:alert(1)",
                "ws://example.com/",
            ),
            *(
                "httpss://example.com/",
                "https+unix://example.com/",
                "data:text/plain,x",
                "unix:/run/x.sock",
                "view-source:x",
            ),
        )
    ),
    ("http://example.com/", "not encrypted", ALLOW_HTTP),
    ("HTTP://example.com/", "not encrypted", ALLOW_HTTP),
    # characters
    *(
        (url, "visible ASCII", None)
        for url in (
            *(" https://example.com/", "https://example.com/ ", "https://example.com/a b", "https://exa mple.com/"),
            *(
                "https://example.com/\n",
                "\nhttps://example.com/",
                "https://example.com/\r\nX: y",
                "https://exam\tple.com/",
            ),
            *(
                "https://example.com/\0",
                "https://example.com\0.evil.example/",
                "https://example.com/\x7f",
                "https://bücher.example/",
            ),
            *("https://example.com/ü", "https://example.com/?q=€", "https://example。com/", "https://ⓔxample.com/"),
            *(
                "https://\uff11\uff12\uff17.0.0.1/",
                "https://example.com/\u202e",
                "https://example.com/\ud800",
                "\ufeffhttps://example.com/",
            ),
            *("https://example.com/\x85", "https://example.com/\xa0", "https://example.com\u3002evil.example/"),
        )
    ),
    ("https://example.com\\hook", "backslash", None),
    ("https:\\\\example.com/", "backslash", None),
    ("https://example.com/a\\b", "backslash", None),
    ("https://example.com\\@evil.example/", "backslash", None),
    ("https://example.com/#", "fragment", None),
    ("https://example.com/#x", "fragment", None),
    ("https://example.com#@evil.example/", "fragment", None),
    ("https://user@example.com/", "user name", None),
    ("https://user:password@example.com/", "user name", None),
    ("https://:@example.com/", "user name", None),
    ("https://@example.com/", "user name", None),
    ("https://example.com:443@evil.example/", "user name", None),
    ("https://example.com%40evil.example/", "not a host name", None),
    ("https://example.com/%", "two hexadecimal digits", None),
    ("https://example.com/%0", "two hexadecimal digits", None),
    ("https://example.com/%zz", "two hexadecimal digits", None),
    ("https://example.com/a<b", "Write it as %3C", None),
    ("https://example.com/{id}", "Write it as %7B", None),
    ("https://example.com/?filter[a]=1", "Write it as %5B", None),
    ("https://example.com/a|b", "Write it as %7C", None),
    ('https://example.com/"', "Write it as %22", None),
    ("https://example.com/`", "Write it as %60", None),
    ("https://example.com/^", "Write it as %5E", None),
    # host and port
    ("https://", "names no host", None),
    ("https:///hook", "names no host", None),
    ("https://?x", "names no host", None),
    ("https://:443/", "names no host", None),
    ("https://example.com:/", "not a port", None),
    ("https://example.com:0/", "not a port", None),
    ("https://example.com:0443/", "not a port", None),
    ("https://example.com:65536/", "not a port", None),
    ("https://example.com:999999999999/", "not a port", None),
    ("https://example.com:+443/", "not a port", None),
    ("https://example.com:-1/", "not a port", None),
    ("https://example.com:44a/", "not a port", None),
    ("https://example.com:443:443/", "not a port", None),
    *(
        (f"https://example.com:{port}/", "another protocol", None)
        for port in (1, 22, 25, 53, 110, 143, 2049, 6000, 6667, 10080)
    ),
    ("https://example..com/", "not a host name", None),
    ("https://.example.com/", "not a host name", None),
    ("https://-example.com/", "not a host name", None),
    ("https://example-.com/", "not a host name", None),
    ("https://exam_ple.com/", "not a host name", None),
    ("https://exam%70le.com/", "not a host name", None),
    ("https://*.example.com/", "not a host name", None),
    ("https://example.com,evil.example/", "not a host name", None),
    (f"https://{'a' * 64}.example/", "not a host name", None),
    (f"https://{'a.' * 125}example/", "not a host name", None),
    ("https://example.com./", "ends in a dot", None),
    ("https://example.com../", "ends in a dot", None),
    ("https://localhost./", "ends in a dot", None),
    ("https://./", "ends in a dot", None),
    # IPv4 in every disguise
    *(
        (f"https://{host}/", "plain form", None)
        for host in (
            *(
                "2130706433",
                "0x7f000001",
                "0X7F000001",
                "017700000001",
                "127.1",
                "127.0.1",
                "0x7f.0.0.1",
                "0x7f.1",
                "0177.0.0.1",
            ),
            *(
                "127.0.0.01",
                "127.0.0.0x1",
                "127.0.0.1.",
                "0",
                "1",
                "8.8.8",
                "08.8.8.8",
                "8.8.8.08",
                "256.1.1.1",
                "1.2.3.4.5",
                "0x",
            ),
            *(
                "999999999999",
                "1.1.1.1.1",
                "foo.1",
                "foo.0x1",
                "127.0.0.1.2130706433",
                "4294967296",
                "0x7f.0x0.0x0.0x1",
            ),
        )
    ),
    # addresses
    *(
        (f"https://{host}/", "which Hookline never calls", ALLOW_ADDRESSES)
        for host in (
            *(
                "127.0.0.1",
                "127.255.255.254",
                "0.0.0.0",
                "10.4.0.12",
                "172.16.0.1",
                "192.168.1.1",
                "169.254.169.254",
                "100.64.0.1",
            ),
            *(
                "168.63.129.16",
                "192.0.2.1",
                "198.18.0.1",
                "224.0.0.1",
                "240.0.0.1",
                "255.255.255.255",
                "[::]",
                "[::1]",
                "[fe80::1]",
            ),
            *(
                "[fc00::1]",
                "[fd00:ec2::254]",
                "[ff02::1]",
                "[2001:db8::1]",
                "[::ffff:127.0.0.1]",
                "[::ffff:7f00:1]",
                "[::127.0.0.1]",
            ),
            *(
                "[::ffff:8.8.8.8]",
                "[64:ff9b::10.0.0.1]",
                "[64:ff9b:1::1]",
                "[2002:7f00:1::]",
                "[2001::1]",
                "[4000::1]",
                "[0:0:0:0:0:0:0:1]",
            ),
            "[2a00:1450::5efe:10.0.0.1]",
        )
    ),
    ("https://[fe80::1%25eth0]/", "zone", None),
    ("https://[fe80::1%eth0]/", "zone", None),
    ("https://[2606:4700::1%1]/", "zone", None),
    ("https://[]/", "not an IPv6 address", None),
    ("https://[::g]/", "not an IPv6 address", None),
    ("https://[v1.x]/", "not an IPv6 address", None),
    ("https://[1.2.3.4]/", "not an IPv6 address", None),
    ("https://[2606:4700::1111::1]/", "not an IPv6 address", None),
    ("https://[2606:4700::1111/", "not a host with or without a port", None),
    ("https://2606:4700::1111/", "not a port", None),
    ("https://[2606:4700::1111]x/", "not a host with or without a port", None),
    ("https://x[2606:4700::1111]/", "not a host with or without a port", None),
    ("https://[2606:4700::1111]443/", "not a host with or without a port", None),
    # names that lead nowhere public
    *((f"https://{name}/", "a name of a single label", ALLOW_HOSTS) for name in ("billing", "vault", "db-1", "com")),
    *(
        (f"https://{name}/", "a name of one machine or network", ALLOW_HOSTS)
        for name in ("localhost", "LOCALHOST", "local", "internal", "svc")
    ),
    *(
        (f"https://x.{suffix}/", f"a name under {suffix}", ALLOW_HOSTS)
        for suffix in (
            *(
                "localhost",
                "localdomain",
                "local",
                "internal",
                "test",
                "invalid",
                "alt",
                "onion",
                "arpa",
                "lan",
                "home",
                "corp",
            ),
            *("intranet", "private", "consul", "svc"),
        )
    ),
    ("https://metadata.google.internal/", "a name under internal", ALLOW_HOSTS),
    ("https://api.default.svc.cluster.local/", "a name under local", ALLOW_HOSTS),
    ("https://home.ARPA/", "a name under arpa", ALLOW_HOSTS),
    # ourselves
    ("https://hooks.example.com/", "this service itself", None),
    ("https://HOOKS.example.com:8443/x", "this service itself", None),
    ("https://198.51.99.5:8080/", "an address of this service", None),
    ("https://example.com/" + "a" * 2029, "at most 2048 characters; this one has 2049", None),
]


def test_the_tables_are_long_enough() -> None:
    assert len(ACCEPTED.split()) + len(REFUSED) >= 150


@pytest.mark.parametrize("text", ACCEPTED.split())
def test_plain_url_is_accepted_as_given(text: str) -> None:
    url = parse(text, PRODUCTION)
    assert url.text == text
    assert url.scheme == "https"
    assert url.target.endswith(text.partition("://")[2].removeprefix(url.authority))
    assert url.host == url.host.lower()


@pytest.mark.parametrize(("text", "why", "setting"), REFUSED)
def test_anything_else_is_refused_with_the_reason(text: str, why: str, setting: str | None) -> None:
    with pytest.raises(UrlRefused) as refused:
        parse(text, PRODUCTION)
    assert why in refused.value.message
    assert refused.value.setting == setting
    assert "HOOKLINE_" not in refused.value.message


def test_parts_are_what_will_be_sent() -> None:
    url = parse("https://API.Acme.example:8443/a%2Fb?c=d", PRODUCTION)
    assert (url.host, url.port, url.authority, url.target) == (
        "api.acme.example",
        8443,
        "API.Acme.example:8443",
        "/a%2Fb?c=d",
    )
    assert url.address is None
    url = parse("https://[2606:4700::1111]", PRODUCTION)
    assert (url.host, url.port, url.authority, url.target) == ("2606:4700::1111", 443, "[2606:4700::1111]", "/")
    assert url.address == ip_address("2606:4700::1111")
    assert parse("https://example.net?x=1", PRODUCTION).target == "/?x=1"
    assert parse("http://example.net/", DEVELOPMENT).port == 80


def test_refusal_speaks_the_agreed_words() -> None:
    with pytest.raises(UrlRefused) as refused:
        parse("https://10.4.0.12/hook", PRODUCTION)
    assert refused.value.message == (
        "10.4.0.12 is a private address, which Hookline never calls. Use a host name that the internet can reach."
    )


def test_longest_url_is_accepted() -> None:
    parse("https://example.com/" + "a" * 2028, PRODUCTION)


@pytest.mark.parametrize("port", sorted(BLOCKED_PORTS - {0}))
def test_port_of_another_protocol_is_refused(port: int) -> None:
    for rules, url in ((PRODUCTION, "https://example.com"), (DEVELOPMENT, "http://127.0.0.1")):
        with pytest.raises(UrlRefused, match="another protocol"):
            parse(f"{url}:{port}/", rules)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "http://127.0.0.1:9000/hook",
            "http://localhost:9000/",
            "http://[::1]:9000/",
            "https://127.0.0.1/",
            "http://localhost/",
        ),
        *(
            "http://127.0.0.1:6001/",
            "http://LocalHost:1234/",
            "http://127.1.2.3:80/",
            "http://127.0.0.1:8081/",
            "http://example.com/",
        ),
    ],
)
def test_development_accepts_http_and_loopback_on_any_port(text: str) -> None:
    assert parse(text, DEVELOPMENT).text == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "http://127.0.0.1:8080/",
            "http://localhost:8080/x",
            "http://[::1]:8080/",
            "http://127.0.0.2:8080/",
            "http://10.0.0.1/",
        ),
        *(
            "http://x.localhost/",
            "http://localhost./",
            "http://2130706433/",
            "http://[::ffff:127.0.0.1]/",
            "http://billing/",
        ),
        *("http://example.com:25/", "http://0.0.0.0:9000/", "http://169.254.169.254/", "http://user@localhost/"),
    ],
)
def test_development_accepts_no_more_than_that(text: str) -> None:
    with pytest.raises(UrlRefused):
        parse(text, DEVELOPMENT)


def test_allowed_network_opens_its_addresses() -> None:
    rules = UrlRules(allow_networks=(ip_network("10.0.0.0/8"),), deny_networks=(ip_network("10.9.0.0/16"),))
    parse("https://10.4.0.12/", rules)
    with pytest.raises(UrlRefused, match="ruled out") as refused:
        parse("https://10.9.0.1/", rules)
    assert refused.value.setting == DENY_ADDRESSES


def test_allowed_host_opens_its_name_but_not_what_it_leads_to() -> None:
    rules = UrlRules(allow_hosts=frozenset({"billing", "vault.internal"}))
    assert parse("https://billing/", rules).host == "billing"
    assert parse("https://Vault.Internal/", rules).host == "vault.internal"
    assert judge_destination(ip_address("10.0.0.1"), 443, rules) is not None
    with pytest.raises(UrlRefused):
        parse("https://other.internal/", rules)


def test_own_listener_is_refused_whatever_is_allowed() -> None:
    rules = UrlRules(
        allow_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")),
        own_addresses=(ip_address("10.0.0.5"),),
        own_port=8080,
        own_host="2606:4700:0::5",
    )
    for text in ("https://10.0.0.5:8080/", "https://127.0.0.1:8080/", "https://[2606:4700::5]/"):
        with pytest.raises(UrlRefused, match="of this service"):
            parse(text, rules)
    parse("https://10.0.0.5:8081/", rules)
    assert judge_destination(ip_address("10.0.0.5"), 8080, rules) is not None


def test_rules_follow_the_settings() -> None:
    settings = from_environment(
        {
            "HOOKLINE_MODE": "development",
            "HOOKLINE_HOST": "0.0.0.0",
            "HOOKLINE_PUBLIC_URL": "https://Hooks.example.com/base",
            "HOOKLINE_EGRESS_ALLOW": "10.0.0.0/8",
            "HOOKLINE_EGRESS_DENY": "10.1.0.0/16",
            "HOOKLINE_EGRESS_ALLOW_HOSTS": "Billing",
            "HOOKLINE_NAT64_PREFIX": "2a00:64::/96",
        }
    )
    rules = rules_of(settings, port=12345)
    assert rules == UrlRules(
        allow_http=True,
        allow_loopback=True,
        allow_networks=(ip_network("10.0.0.0/8"),),
        deny_networks=(ip_network("10.1.0.0/16"),),
        nat64_prefix=IPv6Network("2a00:64::/96"),
        allow_hosts=frozenset({"billing"}),
        own_addresses=(ip_address("0.0.0.0"),),
        own_port=12345,
        own_host="hooks.example.com",
    )
    assert judge_destination(ip_address("2a00:64::127.0.0.1"), 443, rules) is not None
    assert judge_destination(ip_address("2a00:64::8.8.8.8"), 443, rules) is None
    assert rules.listens_everywhere
