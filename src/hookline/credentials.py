"""What is sealed of a subscription, and how it reads once opened: secrets, credential, headers, certificate. Pure.

Each sealed value is bound to its subscription and its kind: one moved to another row, or to another column, does not
open.
"""

import base64
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct, structs

from hookline.model import AuthType, ClientAuthentication, Subscription
from hookline.sealing import Keyring, Unsealable

Header = tuple[str, str]
"""Name and value."""


class TokenRequest(Struct, frozen=True, kw_only=True):
    """Where an access token comes from, and what for (RFC 6749, 4.4)."""

    url: str
    client_id: str
    client_secret: str
    authentication: ClientAuthentication
    scope: str | None


class Trust(Struct, frozen=True, kw_only=True):
    """As whom we come to one callback, and whom we trust for it beside the usual: PEM."""

    certificate: str | None = None
    private_key: str | None = None
    authorities: str | None = None


_HEADERS: Final = msgspec.json.Decoder(dict[str, str])
_CREDENTIAL: Final = msgspec.json.Decoder(dict[str, str])
_TRUST: Final = msgspec.json.Decoder(Trust)


def seal_secret(subscription_id: int, secret: str, keyring: Keyring) -> bytes:
    """Seal a signing secret as it was shown."""
    return keyring.seal(secret.encode(), _context(subscription_id, "secret"))


def open_secrets(subscription: Subscription, keyring: Keyring) -> list[str]:
    """Return the signing secrets, newest first; raise `Unsealable`."""
    context = _context(subscription.id, "secret")
    return [keyring.open(secret.sealed, context).decode() for secret in subscription.secrets]


def seal_headers(subscription_id: int, headers: Mapping[str, str], keyring: Keyring) -> bytes | None:
    """Seal static headers; None for none."""
    if not headers:
        return None
    return keyring.seal(msgspec.json.encode(headers), _context(subscription_id, "headers"))


def open_headers(subscription: Subscription, keyring: Keyring) -> list[Header]:
    """Return the static headers in the order they were given; raise `Unsealable`."""
    if subscription.headers_sealed is None:
        return []
    plain = keyring.open(subscription.headers_sealed, _context(subscription.id, "headers"))
    return list(_HEADERS.decode(plain).items())


def seal_auth(subscription_id: int, credential: Mapping[str, str], keyring: Keyring) -> bytes | None:
    """Seal the members of a `callbackAuth` beside its type; None for none."""
    if not credential:
        return None
    return keyring.seal(msgspec.json.encode(credential), _context(subscription_id, "auth"))


def open_auth(subscription: Subscription, keyring: Keyring) -> Header | TokenRequest | None:
    """Return the header that proves us to the receiver, or what gets it; None for `NONE`. Raise `Unsealable`."""
    if subscription.auth_type is AuthType.NONE:
        return None
    if subscription.auth_sealed is None:
        raise Unsealable(f"subscription {subscription.id} has callbackAuth {subscription.auth_type} and no credential")
    credential = _CREDENTIAL.decode(keyring.open(subscription.auth_sealed, _context(subscription.id, "auth")))
    match subscription.auth_type:
        case AuthType.BASIC:
            pair = f"{credential['username']}:{credential['password']}".encode()
            return "Authorization", f"Basic {base64.b64encode(pair).decode()}"
        case AuthType.BEARER:
            return "Authorization", f"Bearer {credential['token']}"
        case AuthType.HEADER:
            return credential["headerName"], credential["headerValue"]
        case AuthType.OAUTH2_CLIENT_CREDENTIALS:
            return TokenRequest(
                url=credential["oauth2TokenUrl"],
                client_id=credential["oauth2ClientId"],
                client_secret=credential["oauth2ClientSecret"],
                authentication=ClientAuthentication(credential["oauth2ClientAuthenticationMethod"]),
                scope=credential.get("oauth2Scope"),
            )


def seal_trust(subscription_id: int, trust: Trust, keyring: Keyring) -> bytes | None:
    """Seal a client certificate with its key, and authorities; None for none of them."""
    if trust == Trust():
        return None
    return keyring.seal(msgspec.json.encode(trust), _context(subscription_id, "trust"))


def open_trust(subscription: Subscription, keyring: Keyring) -> Trust | None:
    """Return what TLS needs beside the usual, None for nothing; raise `Unsealable`."""
    if subscription.trust_sealed is None:
        return None
    return _TRUST.decode(keyring.open(subscription.trust_sealed, _context(subscription.id, "trust")))


def is_current(subscription: Subscription, keyring: Keyring) -> bool:
    """Tell whether the first key has sealed all of it."""
    return all(map(keyring.is_current, _sealed(subscription)))


def resealed(subscription: Subscription, keyring: Keyring) -> Subscription | None:
    """Return it with all of it sealed by the first key, its revision raised; None where that is so already.

    Raises `Unsealable` where a part does not open: then nothing of it is sealed again.
    """
    if is_current(subscription, keyring):
        return None

    def again(sealed: bytes, kind: str) -> bytes:
        context = _context(subscription.id, kind)
        plain = keyring.open(sealed, context)
        return sealed if keyring.is_current(sealed) else keyring.seal(plain, context)

    return structs.replace(
        subscription,
        secrets=tuple(structs.replace(each, sealed=again(each.sealed, "secret")) for each in subscription.secrets),
        auth_sealed=None if subscription.auth_sealed is None else again(subscription.auth_sealed, "auth"),
        headers_sealed=None if subscription.headers_sealed is None else again(subscription.headers_sealed, "headers"),
        trust_sealed=None if subscription.trust_sealed is None else again(subscription.trust_sealed, "trust"),
        revision=subscription.revision + 1,
    )


def _sealed(subscription: Subscription) -> list[bytes]:
    secrets = (secret.sealed for secret in subscription.secrets)
    others = (subscription.auth_sealed, subscription.headers_sealed, subscription.trust_sealed)
    return [each for each in (*secrets, *others) if each is not None]


def _context(subscription_id: int, kind: str) -> str:
    return f"subscription/{subscription_id}/{kind}"
