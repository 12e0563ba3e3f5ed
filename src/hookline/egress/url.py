"""Which callback URLs are accepted: a strict parser that refuses and never repairs. Pure; asks no DNS.

Registration, changes, OAuth token URLs and each attempt come through here. Afterwards only the parts go on, never the
text, so no second parser can read it differently. Grammar: RFC 3986, narrowed; `contract.md` 3.1 lists what is refused.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, NoReturn
from urllib.parse import urlsplit

from msgspec import Struct

from hookline.config import Settings
from hookline.egress.addresses import Address, Network, Refusal, judge

URL_CHARACTERS_MAX: Final = 2048
NAME_CHARACTERS_MAX: Final = 253
"""RFC 1035, 2.3.4: 255 octets on the wire."""
SECURE_PORT: Final = 443
PLAIN_PORT: Final = 80

PRIVATE_SUFFIXES: Final = frozenset(
    {
        # RFC 6761, 6762, 7686, 8375, 9476 and ICANN's resolution on "internal"
        *("localhost", "local", "test", "invalid", "alt", "onion", "arpa", "internal"),
        # what home routers, offices and clusters use
        *("localdomain", "lan", "home", "corp", "intranet", "private", "consul", "svc"),
    }
)

BLOCKED_PORTS: Final = frozenset(
    # The "bad port" list of WHATWG Fetch: ports of other protocols, which an HTTP request could be made to speak
    {
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104),
        *(109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515),
        *(526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049),
        *(3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    }
)

_INVISIBLE: Final = re.compile(r"[^!-~]")
_SCHEME: Final = re.compile(r"(https?)://", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_BAD_TARGET: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~%!$&'()*+,;=:@/?]")

_ADVICE: Final = "Use a host name that the internet can reach."
ALLOW_HTTP: Final = "HOOKLINE_ALLOW_HTTP"
ALLOW_ADDRESSES: Final = "HOOKLINE_EGRESS_ALLOW"
ALLOW_HOSTS: Final = "HOOKLINE_EGRESS_ALLOW_HOSTS"
DENY_ADDRESSES: Final = "HOOKLINE_EGRESS_DENY"


class UrlRefused(ValueError):
    """The URL may not be called. `message` is for everyone; `setting` would allow it and is for the operator only."""

    def __init__(self, message: str, setting: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.setting = setting


class UrlRules(Struct, frozen=True, kw_only=True):
    """What this installation allows beyond the built-in rules, and who it is itself."""

    allow_http: bool = False
    allow_loopback: bool = False
    """Development: loopback addresses and the name `localhost`, on any port but ours."""
    allow_networks: tuple[Network, ...] = ()
    deny_networks: tuple[Network, ...] = ()
    nat64_prefix: IPv6Network | None = None
    allow_hosts: frozenset[str] = frozenset()
    """Internal names, lower case. Only the name is allowed by this; what it leads to is judged like any address."""
    own_addresses: tuple[Address, ...] = ()
    """Where we listen; an unspecified address stands for every address of this machine."""
    own_port: int | None = None
    own_host: str | None = None
    """The host of our public URL."""

    @property
    def listens_everywhere(self) -> bool:
        """Whether every address of this machine leads to us."""
        return any(address.is_unspecified for address in self.own_addresses)


def rules_of(settings: Settings, *, port: int) -> UrlRules:
    """Return the rules that the settings ask for; `port` is the one really listened on."""
    return UrlRules(
        allow_http=settings.allow_http,
        allow_loopback=settings.is_development,
        allow_networks=settings.egress_allow,
        deny_networks=settings.egress_deny,
        nat64_prefix=settings.nat64_prefix,
        allow_hosts=frozenset(settings.egress_allow_hosts),
        own_addresses=tuple(filter(None, [_literal(settings.host)])),
        own_port=port,
        own_host=urlsplit(settings.public_url).hostname,
    )


class CallbackUrl(Struct, frozen=True, kw_only=True):
    """A URL that passed, in parts."""

    text: str
    """As given."""
    scheme: str
    """`https` or `http`."""
    host: str
    """Lower case, an IPv6 address without its brackets."""
    port: int
    target: str
    """Path and query as given; `/` stands for an empty path, as HTTP requires."""
    authority: str
    """Host and port as given: the `Host` header."""
    address: Address | None = None
    """Set where the host is an address, so that there is no name to look up."""


def parse(text: str, rules: UrlRules) -> CallbackUrl:
    """Return the parts of an acceptable callback URL; raise `UrlRefused` for every other."""
    _check_characters(text)
    begin = _SCHEME.match(text)
    if begin is None:
        raise UrlRefused("A callback URL begins with https://.")
    scheme = begin[1].lower()
    if scheme == "http" and not rules.allow_http:
        raise UrlRefused("An http address is not encrypted. Use https.", ALLOW_HTTP)
    authority, target = _split(text[begin.end() :])
    host, port = _host_and_port(authority, SECURE_PORT if scheme == "https" else PLAIN_PORT)
    address = _address(host)
    if address is None:
        _check_name(host, port, rules)
    else:
        _check_address(address, port, rules)
    _check_port(port)
    return CallbackUrl(
        text=text,
        scheme=scheme,
        host=host.strip("[]"),
        port=port,
        target=target,
        authority=authority,
        address=address,
    )


def judge_destination(address: Address, port: int, rules: UrlRules) -> Refusal | None:
    """Judge where a connection would go; used for the address in a URL and for every answer of DNS."""
    if port == rules.own_port and (address.is_loopback or address in rules.own_addresses):
        return Refusal.OWN
    return judge(
        address,
        allow=rules.allow_networks,
        deny=rules.deny_networks,
        allow_loopback=rules.allow_loopback,
        nat64_prefix=rules.nat64_prefix,
    )


# --- the text --------------------------------------------------------------------------------------------------------


def _check_characters(text: str) -> None:
    if len(text) > URL_CHARACTERS_MAX:
        raise UrlRefused(f"A callback URL has at most {URL_CHARACTERS_MAX} characters; this one has {len(text)}.")
    if found := _INVISIBLE.search(text):
        raise UrlRefused(
            f"A callback URL is written in visible ASCII; character {found.start() + 1} is U+{ord(found[0]):04X}. "
            "Percent-encode it in a path or query, and write an international host name in its xn-- form."
        )
    if "\\" in text:
        raise UrlRefused("A callback URL contains no backslash. Use /, or %5C in a path or query.")
    if "#" in text:
        raise UrlRefused("A callback URL has no fragment: the part from # on is never sent. Leave it out.")


def _split(rest: str) -> tuple[str, str]:
    """Split what follows `://` into authority and target."""
    ends = [at for at in (rest.find("/"), rest.find("?")) if at >= 0]
    end = min(ends, default=len(rest))
    authority, target = rest[:end], rest[end:]
    if "@" in authority:
        raise UrlRefused("A callback URL carries no user name or password. Use callbackAuth for a credential.")
    if found := _BAD_TARGET.search(target):
        if found[0] == "%":
            raise UrlRefused("In a callback URL % is followed by two hexadecimal digits; % itself is written %25.")
        raise UrlRefused(f"{found[0]} stands in no path or query as it is. Write it as %{ord(found[0]):02X}.")
    return authority, target if target.startswith("/") else f"/{target}"


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise UrlRefused(f"{authority} is not a host with or without a port, like api.example.com:8443.")
    host, port = parts[1].lower(), parts[2]
    if not host:
        raise UrlRefused(f"The callback URL names no host. {_ADVICE}")
    if port is None:
        return host, default_port
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise UrlRefused(f"{port or 'An empty text'} is not a port: that is a number from 1 to 65535.")
    return host, int(port)


# --- the host --------------------------------------------------------------------------------------------------------


def _address(host: str) -> Address | None:
    """Return the address that the host is; None for a name.

    A host whose last label is a number is an IPv4 address to every resolver (WHATWG URL, "ends in a number"), so it has
    to be one in the plain form and nothing else: 127.1, 0x7f.0.0.1, 2130706433 and 0177.0.0.1 are disguises.
    """
    if host.startswith("["):
        return _ipv6(host[1:-1])
    if not _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        return None
    try:
        return IPv4Address(host)
    except AddressValueError:
        raise UrlRefused(f"{host} is not an IPv4 address in its plain form, four decimal numbers. {_ADVICE}") from None


def _ipv6(text: str) -> IPv6Address:
    if "%" in text:
        raise UrlRefused(f"[{text}] has a zone, which means something on one machine only. {_ADVICE}")
    try:
        return IPv6Address(text)
    except AddressValueError:
        raise UrlRefused(f"[{text}] is not an IPv6 address. {_ADVICE}") from None


def _check_address(address: Address, port: int, rules: UrlRules) -> None:
    refusal = judge_destination(address, port, rules)
    if refusal is None and str(address) == _own_host(rules):
        refusal = Refusal.OWN
    if refusal is None:
        return
    setting = {Refusal.OWN: None, Refusal.DENIED: DENY_ADDRESSES}.get(refusal, ALLOW_ADDRESSES)
    raise UrlRefused(f"{address} is {refusal}, which Hookline never calls. {_ADVICE}", setting)


def _check_name(host: str, port: int, rules: UrlRules) -> None:
    if host.endswith("."):
        raise UrlRefused(f"{host} ends in a dot. Write the host name without it.")
    labels = host.split(".")
    if len(host) > NAME_CHARACTERS_MAX or not all(map(_LABEL.fullmatch, labels)):
        raise UrlRefused(
            f"{host} is not a host name: labels of 1 to 63 letters, digits and inner hyphens with dots between, "
            f"at most {NAME_CHARACTERS_MAX} characters."
        )
    if host == _own_host(rules) or (host == "localhost" and port == rules.own_port):
        raise UrlRefused(f"{host} is this service itself, which Hookline never calls. {_ADVICE}")
    if host in rules.allow_hosts or (host == "localhost" and rules.allow_loopback):
        return
    if labels[-1] in PRIVATE_SUFFIXES:
        _refuse_name(host, f"a name under {labels[-1]}" if len(labels) > 1 else "a name of one machine or network")
    if len(labels) == 1:
        _refuse_name(host, "a name of a single label")


def _refuse_name(host: str, what: str) -> NoReturn:
    raise UrlRefused(f"{host} is {what}, which leads nowhere on the internet. {_ADVICE}", ALLOW_HOSTS)


def _check_port(port: int) -> None:
    if port in BLOCKED_PORTS:
        raise UrlRefused(f"Port {port} belongs to another protocol. Use 443 or a port of an HTTP server.")


def _own_host(rules: UrlRules) -> str | None:
    """Return the host of our public URL; None where it is loopback, which our own port already guards."""
    host = rules.own_host
    if host is None or host == "localhost":
        return None
    address = _literal(host)
    if address is None:
        return host
    return None if address.is_loopback else str(address)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
