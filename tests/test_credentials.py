"""What is sealed reads as it was given, for its own subscription and kind alone."""

import base64
from collections.abc import Mapping

import pytest
from msgspec import structs

from hookline import credentials
from hookline.model import AuthType, PayloadVersion, Policies, Secret, Subscription
from hookline.sealing import Keyring, Unsealable

KEYRING = Keyring([b"k" * 32])
BLANK = Subscription(
    id=7,
    company_id=3,
    revision=1,
    callback_url="https://api.example.com/",
    event_types=None,
    payload_version=PayloadVersion.V1,
    policies=Policies(),
    secrets=(),
    created_at=0,
    updated_at=0,
)


def _with_auth(auth_type: AuthType, credential: Mapping[str, str]) -> Subscription:
    sealed = credentials.seal_auth(BLANK.id, credential, KEYRING)
    return structs.replace(BLANK, auth_type=auth_type, auth_sealed=sealed)


def test_secrets_open_newest_first() -> None:
    sealed = [credentials.seal_secret(7, secret, KEYRING) for secret in ("whsec_new", "whsec_old")]
    subscription = structs.replace(BLANK, secrets=tuple(Secret(sealed=each, created_at=0) for each in sealed))
    assert credentials.open_secrets(subscription, KEYRING) == ["whsec_new", "whsec_old"]


def test_headers_keep_their_order_and_their_bytes() -> None:
    given = {"X-Zone": "eu", "A-Quote": 'say "yes" \\o/', "x-empty-ish": "\t".join("ab")}
    subscription = structs.replace(BLANK, headers_sealed=credentials.seal_headers(7, given, KEYRING))
    assert credentials.open_headers(subscription, KEYRING) == list(given.items())


def test_nothing_to_seal_is_stored_as_nothing() -> None:
    assert credentials.seal_headers(7, {}, KEYRING) is None
    assert credentials.seal_auth(7, {}, KEYRING) is None
    assert credentials.open_headers(BLANK, KEYRING) == []
    assert credentials.open_auth(BLANK, KEYRING) is None


@pytest.mark.parametrize(
    ("auth_type", "credential", "header"),
    [
        (AuthType.BASIC, {"username": "ann", "password": "a:b"}, ("Authorization", "Basic YW5uOmE6Yg==")),
        (
            AuthType.BASIC,
            {"username": "änn", "password": "密"},
            ("Authorization", "Basic " + base64.b64encode("änn:密".encode()).decode()),
        ),
        (AuthType.BEARER, {"token": "t0k"}, ("Authorization", "Bearer t0k")),
        (AuthType.HEADER, {"headerName": "X-Api-Key", "headerValue": "v 1"}, ("X-Api-Key", "v 1")),
    ],
)
def test_a_credential_reads_as_its_header(
    auth_type: AuthType, credential: Mapping[str, str], header: tuple[str, str]
) -> None:
    subscription = _with_auth(auth_type, credential)
    assert subscription.auth_sealed is not None
    assert not any(value.encode() in subscription.auth_sealed for value in credential.values())
    assert credentials.open_auth(subscription, KEYRING) == header


def test_what_was_sealed_for_another_subscription_does_not_open() -> None:
    moved = structs.replace(_with_auth(AuthType.BEARER, {"token": "t"}), id=8)
    with pytest.raises(Unsealable):
        credentials.open_auth(moved, KEYRING)


def test_what_was_sealed_as_another_kind_does_not_open() -> None:
    headers = credentials.seal_headers(7, {"token": "t"}, KEYRING)
    swapped = structs.replace(BLANK, auth_type=AuthType.BEARER, auth_sealed=headers)
    with pytest.raises(Unsealable):
        credentials.open_auth(swapped, KEYRING)


def test_a_credential_that_is_gone_is_never_sent_as_none() -> None:
    with pytest.raises(Unsealable):
        credentials.open_auth(structs.replace(BLANK, auth_type=AuthType.BASIC), KEYRING)
