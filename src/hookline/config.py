"""Every setting, read once into a value that cannot be wrong. Pure: the environment is an argument.

`SETTINGS` is the one list: the documentation's table is checked against it.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from hookline.errors import StartRefused

Network = IPv4Network | IPv6Network
Value = TypeVar("Value")

BODY_SECONDS: Final = 2
"""After the response head, so long for its body: enough for an error page, too short for a drip."""
COMMIT_SECONDS: Final = 10
"""The longest that settling an attempt may take before another node could claim it."""
SECRET_KEY_BYTES: Final = 32
OPERATOR_TOKEN_LENGTHS: Final = range(32, 257)
PORTAL_ORIGINS_MAX: Final = 50
"""They stand in a header of every page."""
NAT64_PREFIX_LENGTHS: Final = (32, 40, 48, 56, 64, 96)
_HOST_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.ASCII)
_URI_REFERENCE: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.ASCII)
"""By its alphabet alone (RFC 3986, 2): enough to keep out what no receiver could read."""
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::(?P<port>[1-9][0-9]{0,4}))?", re.ASCII
)
"""As browsers write one, in the narrow form that a Content-Security-Policy can name (CSP 3, 2.3.1: no IPv6)."""
_PROXY: Final = re.compile(
    r"http://(?:(?P<credential>[^:@/ ]+:[^:@/ ]*)@)?"
    r"(?:(?P<host>[A-Za-z0-9.-]+)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\]):(?P<port>[0-9]{1,5})/?",
    re.ASCII,
)


class EgressProxy(Struct, frozen=True, kw_only=True):
    """An HTTP proxy that all attempts go through."""

    host: str
    port: int
    address: IPv4Address | IPv6Address | None
    """Where the host is one."""
    credential: str | None
    """User name and password with a colon between."""


class Settings(Struct, frozen=True, kw_only=True):
    """The configuration of one process."""

    database_url: str
    is_development: bool
    roles: frozenset[str]
    host: str
    port: int
    public_url: str
    trusted_proxies: tuple[Network, ...]
    portal_origins: tuple[str, ...]
    """Whose pages may frame ours."""
    operator_token: str | None
    secret_keys: tuple[bytes, ...]
    """First seals, all open. Empty in development until wiring has made one."""
    allow_http: bool
    egress_allow: tuple[Network, ...]
    egress_deny: tuple[Network, ...]
    egress_allow_hosts: tuple[str, ...]
    egress_proxy: EgressProxy | None
    ca_file: str | None
    nat64_prefix: IPv6Network | None
    retry_delays_seconds: tuple[int, ...]
    circuit: bool
    """Whether receivers that only fail are left alone."""
    deactivate_after_days: int
    """0: never."""
    event_source: str
    timeout_seconds_max: int
    lease_seconds: int
    max_in_flight: int
    host_max_in_flight: int
    retention_days: int
    quota_subscriptions: int
    quota_events_per_second: int | None
    quota_stored_bytes: int | None
    rate_token_per_second: int | None
    """None: no limit."""
    drain_seconds: int
    migrate: str
    """`apply` or `check`."""

    @property
    def is_loopback_only(self) -> bool:
        """Whether nobody but this machine can reach the API."""
        return _is_loopback(self.host) and not self.trusted_proxies

    @property
    def settling_seconds(self) -> int:
        """How long an attempt may take from its start until its end is durable."""
        return self.timeout_seconds_max + BODY_SECONDS + COMMIT_SECONDS


class Setting(NamedTuple):
    """One environment variable, as documented."""

    name: str
    default: str
    meaning: str


SETTINGS: Final = (
    Setting("HOOKLINE_DATABASE_URL", "sqlite:///hookline.db", "where everything is kept"),
    Setting("HOOKLINE_MODE", "production", "`production` or `development` (`serve --dev`)"),
    Setting("HOOKLINE_ROLES", "api,engine", "what this process does: `api`, `engine` or both"),
    Setting("HOOKLINE_HOST", "127.0.0.1", "address to listen on"),
    Setting("HOOKLINE_PORT", "8080", "port to listen on"),
    Setting("HOOKLINE_PUBLIC_URL", "from host and port", "the address under which people reach this installation"),
    Setting("HOOKLINE_TRUSTED_PROXIES", "none", "CIDR list of proxies whose `X-Forwarded-*` headers count"),
    Setting(
        "HOOKLINE_PORTAL_ORIGINS", "none", "origins whose pages may frame the portal, like `https://app.example.com`"
    ),
    Setting("HOOKLINE_OPERATOR_TOKEN", "none", "an operator token of your own, 32 to 256 visible ASCII characters"),
    Setting("HOOKLINE_SECRET_KEY", "required in production", "32 bytes base64; a comma list rotates, the first seals"),
    Setting("HOOKLINE_ALLOW_HTTP", "false", "accept `http` callback URLs (development: `true`)"),
    Setting("HOOKLINE_EGRESS_ALLOW", "none", "CIDR list of otherwise refused addresses that may be called"),
    Setting("HOOKLINE_EGRESS_DENY", "none", "CIDR list of addresses never called; beats every allowance"),
    Setting("HOOKLINE_EGRESS_ALLOW_HOSTS", "none", "internal host names that callback URLs may use"),
    Setting("HOOKLINE_EGRESS_PROXY", "none", "HTTP proxy for all attempts: `http://[user:password@]host:port`"),
    Setting("HOOKLINE_CA_FILE", "none", "PEM file of further certificate authorities to trust"),
    Setting("HOOKLINE_NAT64_PREFIX", "none", "the NAT64 prefix of this network, like `2001:db8:64::/96`"),
    Setting("HOOKLINE_RETRY_DELAYS_SECONDS", "10,60,300", "waits before the retries where a subscription names none"),
    Setting("HOOKLINE_CIRCUIT", "on", "`off`: a receiver that only fails is tried as often as any other"),
    Setting(
        "HOOKLINE_DEACTIVATE_AFTER_DAYS", "5", "of failures only, then a subscription becomes inactive; `0`: never"
    ),
    Setting("HOOKLINE_RETENTION_DAYS", "30", "how long events, attempts and bodies are kept after their end"),
    Setting("HOOKLINE_EVENT_SOURCE", "the public URL", "CloudEvents `source`"),
    Setting("HOOKLINE_TIMEOUT_SECONDS_MAX", "30", "the longest `timeoutSeconds`"),
    Setting("HOOKLINE_LEASE_SECONDS", "45", "how long a claimed delivery waits for a node that died"),
    Setting("HOOKLINE_MAX_IN_FLIGHT", "1000", "attempts in flight on one node"),
    Setting("HOOKLINE_HOST_MAX_IN_FLIGHT", "200", "of these, to one destination host"),
    Setting("HOOKLINE_QUOTA_SUBSCRIPTIONS", "100", "subscriptions a company may have"),
    Setting("HOOKLINE_QUOTA_EVENTS_PER_SECOND", "off", "events a second that may be published to a company on a node"),
    Setting("HOOKLINE_QUOTA_STORED_BYTES", "off", "bytes of data that a company's stored events may come to"),
    Setting(
        "HOOKLINE_RATE_TOKEN_PER_SECOND", "off", "requests a second that one token, or one account, makes of a node"
    ),
    Setting("HOOKLINE_DRAIN_SECONDS", "5", "how long requests are still served after SIGTERM"),
    Setting("HOOKLINE_MIGRATE", "apply", "`check`: refuse to start on an older schema instead of migrating"),
)

OF_COMMANDS: Final = ("HOOKLINE_URL", "HOOKLINE_TOKEN", "HOOKLINE_PROFILE", "HOOKLINE_CONFIG", "HOOKLINE_SECRET")
"""What commands that talk to a server read."""
LIKENESS: Final = 0.85
"""From 0 to 1. One letter more, less, other or exchanged in a short name is above this; another word is below."""


def from_environment(environment: Mapping[str, str], *, needs_secret_key: bool = True) -> Settings:
    """Read the settings; raise `StartRefused` naming the variable and what it should be.

    `needs_secret_key` False: for work on the database that opens nothing sealed.
    """
    read = _Reader(environment)
    is_development = read.choice("HOOKLINE_MODE", ("production", "development"), "production") == "development"
    host = read.text("HOOKLINE_HOST", "127.0.0.1")
    port = read.integer("HOOKLINE_PORT", 8080, 0, 65535)
    public_url = read.parsed("HOOKLINE_PUBLIC_URL", _public_url, f"http://{_in_url(host)}:{port}")
    settings = Settings(
        database_url=read.parsed("HOOKLINE_DATABASE_URL", _database_url, "sqlite:///hookline.db"),
        is_development=is_development,
        roles=read.parsed("HOOKLINE_ROLES", _roles, frozenset({"api", "engine"})),
        host=host,
        port=port,
        public_url=public_url,
        trusted_proxies=read.parsed("HOOKLINE_TRUSTED_PROXIES", _networks, ()),
        portal_origins=read.parsed(
            "HOOKLINE_PORTAL_ORIGINS", lambda text: _origins(text, is_development=is_development), ()
        ),
        operator_token=read.parsed("HOOKLINE_OPERATOR_TOKEN", _operator_token, None),
        secret_keys=read.parsed("HOOKLINE_SECRET_KEY", _secret_keys, ()),
        allow_http=read.boolean("HOOKLINE_ALLOW_HTTP", default=is_development),
        egress_allow=read.parsed("HOOKLINE_EGRESS_ALLOW", _networks, ()),
        egress_deny=read.parsed("HOOKLINE_EGRESS_DENY", _networks, ()),
        egress_allow_hosts=read.parsed("HOOKLINE_EGRESS_ALLOW_HOSTS", _host_names, ()),
        egress_proxy=read.parsed("HOOKLINE_EGRESS_PROXY", _proxy, None),
        ca_file=read.parsed("HOOKLINE_CA_FILE", str, None),
        nat64_prefix=read.parsed("HOOKLINE_NAT64_PREFIX", _nat64_prefix, None),
        retry_delays_seconds=read.parsed("HOOKLINE_RETRY_DELAYS_SECONDS", _delays, (10, 60, 300)),
        circuit=read.choice("HOOKLINE_CIRCUIT", ("on", "off"), "on") == "on",
        deactivate_after_days=read.integer("HOOKLINE_DEACTIVATE_AFTER_DAYS", 5, 0, 3650),
        event_source=read.parsed("HOOKLINE_EVENT_SOURCE", _event_source, public_url),
        timeout_seconds_max=read.integer("HOOKLINE_TIMEOUT_SECONDS_MAX", 30, 1, 300),
        lease_seconds=read.integer("HOOKLINE_LEASE_SECONDS", 45, 1, 3600),
        max_in_flight=read.integer("HOOKLINE_MAX_IN_FLIGHT", 1000, 1, 100_000),
        host_max_in_flight=read.integer("HOOKLINE_HOST_MAX_IN_FLIGHT", 200, 1, 100_000),
        retention_days=read.integer("HOOKLINE_RETENTION_DAYS", 30, 1, 3650),
        quota_subscriptions=read.integer("HOOKLINE_QUOTA_SUBSCRIPTIONS", 100, 1, 1_000_000),
        quota_events_per_second=read.optional("HOOKLINE_QUOTA_EVENTS_PER_SECOND", 1, 1_000_000),
        quota_stored_bytes=read.optional("HOOKLINE_QUOTA_STORED_BYTES", 1, 2**53 - 1),
        rate_token_per_second=read.optional("HOOKLINE_RATE_TOKEN_PER_SECOND", 1, 1_000_000),
        drain_seconds=read.integer("HOOKLINE_DRAIN_SECONDS", 5, 0, 600),
        migrate=read.choice("HOOKLINE_MIGRATE", ("apply", "check"), "apply"),
    )
    _check_lease(settings)
    _check_framing(settings)
    if needs_secret_key and not is_development and not settings.secret_keys:
        raise StartRefused(
            "HOOKLINE_SECRET_KEY is not set: production needs 32 random bytes, base64, to seal secrets at rest. "
            "Make one with `openssl rand -base64 32` and keep it as safe as the database; "
            "to try Hookline out, start it with `hookline serve --dev`."
        )
    return settings


def misspelt(environment: Iterable[str]) -> list[tuple[str, str]]:
    """Return the variables that are no settings but resemble one, each with the one it resembles.

    Others that begin alike are left in peace: clusters set some of the kind of `HOOKLINE_SERVICE_HOST` by themselves.
    """
    known = [setting.name for setting in SETTINGS]
    strange = [name for name in environment if name.startswith("HOOKLINE") and name not in {*known, *OF_COMMANDS}]
    near = [(name, get_close_matches(name, known, n=1, cutoff=LIKENESS)) for name in sorted(strange)]
    return [(name, meant[0]) for name, meant in near if meant]


def _check_lease(settings: Settings) -> None:
    needed = settings.settling_seconds
    if settings.lease_seconds <= needed:
        raise StartRefused(
            f"HOOKLINE_LEASE_SECONDS is {settings.lease_seconds}: it must exceed {needed} "
            f"(HOOKLINE_TIMEOUT_SECONDS_MAX {settings.timeout_seconds_max} + {BODY_SECONDS} s for a body "
            f"+ {COMMIT_SECONDS} s for a commit), or a delivery could be claimed twice."
        )


def _check_framing(settings: Settings) -> None:
    """Refuse a portal whose sessions no browser would keep: in a frame, a cookie needs https, or this very machine."""
    if not settings.portal_origins or settings.public_url.startswith("https://"):
        return
    if not _is_loopback(urlsplit(settings.public_url).hostname or ""):
        raise StartRefused(
            f"HOOKLINE_PORTAL_ORIGINS is set, but HOOKLINE_PUBLIC_URL is {settings.public_url}: "
            "browsers keep the cookie of a framed page only if it comes by https. Set an https address, "
            "or leave HOOKLINE_PORTAL_ORIGINS empty."
        )


class _Reader:
    """Read variables one by one; every refusal names its variable."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name, "").strip() or default

    def parsed(self, name: str, parse: Callable[[str], Value], default: Value) -> Value:
        text = self._environment.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise StartRefused(f"{name}: {error}") from error

    def integer(self, name: str, default: int, lowest: int, highest: int) -> int:
        return self.parsed(name, lambda text: _integer(text, lowest, highest), default)

    def optional(self, name: str, lowest: int, highest: int) -> int | None:
        return self.parsed(name, lambda text: None if text == "off" else _integer(text, lowest, highest), None)

    def boolean(self, name: str, *, default: bool) -> bool:
        return self.choice(name, ("true", "false"), "true" if default else "false") == "true"

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        def parse(text: str) -> str:
            if text not in choices:
                raise ValueError(f"expected {' or '.join(choices)}, found {text!r}")
            return text

        return self.parsed(name, parse, default)


def _integer(text: str, lowest: int, highest: int) -> int:
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
        raise ValueError(f"expected a whole number from {lowest} to {highest}, found {text!r}")
    return int(text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().lower() for word in text.split(",") if word.strip())


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(word) for word in _words(text))
    except ValueError as error:
        raise ValueError(f"expected networks like 10.0.0.0/8, with commas between ({error})") from error


def _host_names(text: str) -> tuple[str, ...]:
    names = _words(text)
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(f"expected whole host names, with commas between, found {name!r}")
    return names


def _event_source(text: str) -> str:
    if not _URI_REFERENCE.fullmatch(text):
        raise ValueError(f"expected a URI-reference (CloudEvents 1.0, `source`), found {text!r}")
    return text


def _roles(text: str) -> frozenset[str]:
    roles = frozenset(_words(text))
    if not roles or not roles <= {"api", "engine"}:
        raise ValueError(f"expected api, engine or both, found {text!r}")
    return roles


def _database_url(text: str) -> str:
    if not text.startswith(("sqlite:///", "postgresql://")):
        raise ValueError("expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME")
    if text in {"sqlite:///", "sqlite:///:memory:"}:
        raise ValueError("expected a file after sqlite:///, as nothing kept in memory alone would survive")
    return text


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    is_plain = text.isascii() and text.isprintable() and " " not in text and "@" not in parts.netloc
    has_host = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    if not (is_plain and has_host) or "?" in text or "#" in text:
        raise ValueError(f"expected an address like https://hooks.example.com, found {text!r}")
    return text.rstrip("/")


def _origins(text: str, *, is_development: bool) -> tuple[str, ...]:
    """Read exact origins; in development those of this machine may use http."""
    origins = tuple(dict.fromkeys(re.split(r"[\s,]+", text.strip(" \t\r\n,"))))
    if len(origins) > PORTAL_ORIGINS_MAX:
        raise ValueError(f"expected at most {PORTAL_ORIGINS_MAX} origins, found {len(origins)}")
    for origin in origins:
        parts = _ORIGIN.fullmatch(origin)
        is_safe = parts and (parts["scheme"] == "https" or (is_development and _is_loopback(parts["host"])))
        if parts is None or not is_safe or int(parts["port"] or 443) > 65535:
            raise ValueError(
                "expected origins like https://app.example.com, exact, in lower case, without path or wildcard, with "
                f"spaces or commas between (http is for loopback in development), found {origin!r}"
            )
    return origins


def _proxy(text: str) -> EgressProxy:
    """Read the address of a proxy; what is wrong with it is never shown, for it may hold a password."""
    parts = _PROXY.fullmatch(text)
    if parts is None or not 1 <= int(parts["port"]) <= 65535:
        raise ValueError("expected http://host:port or http://user:password@host:port, user and password %-encoded")
    host = (parts["host"] or parts["ipv6"]).lower()
    credential = parts["credential"]
    return EgressProxy(
        host=host,
        port=int(parts["port"]),
        address=_address(host),
        credential=None if credential is None else unquote(credential),
    )


def _nat64_prefix(text: str) -> IPv6Network:
    prefix = ip_network(text)
    if not isinstance(prefix, IPv6Network) or prefix.prefixlen not in NAT64_PREFIX_LENGTHS:
        lengths = ", ".join(f"/{length}" for length in NAT64_PREFIX_LENGTHS)
        raise ValueError(f"expected an IPv6 prefix of length {lengths} (RFC 6052, 2.2), found {text!r}")
    return prefix


def _operator_token(text: str) -> str:
    if len(text) not in OPERATOR_TOKEN_LENGTHS or not all("!" <= character <= "~" for character in text):
        raise ValueError("expected 32 to 256 visible ASCII characters")
    return text


def _secret_keys(text: str) -> tuple[bytes, ...]:
    keys = []
    for word in text.split(","):
        try:
            key = base64.b64decode(word.strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != SECRET_KEY_BYTES:
            raise ValueError("expected 32 bytes in base64, or several of them with commas between")
        keys.append(key)
    return tuple(keys)


def _delays(text: str) -> tuple[int, ...]:
    words = _words(text)
    if len(words) > 20 or not all(word.isascii() and word.isdigit() and 1 <= int(word) <= 86_400 for word in words):
        raise ValueError("expected up to 20 whole numbers of seconds from 1 to 86400, with commas between")
    return tuple(map(int, words))


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
