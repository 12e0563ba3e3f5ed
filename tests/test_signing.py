"""Signatures verify with code that is not ours."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from hookline.signing import SECRET_BYTES, Signer, new_secret

OLD, NEW = new_secret(bytes(range(32))), new_secret(bytes(range(100, 132)))
SECRETS = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES).map(new_secret)


def test_a_secret_is_a_prefix_and_base64() -> None:
    assert new_secret(bytes(32)) == "whsec_" + "A" * 43 + "="
    assert base64.b64decode(NEW.removeprefix("whsec_")) == bytes(range(100, 132))


@pytest.mark.parametrize("size", [0, 24, 31, 33])
def test_a_secret_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        new_secret(bytes(size))


@given(SECRETS, st.binary(max_size=300))
def test_hub_signature_is_keyed_by_the_secret_as_shown(secret: str, body: bytes) -> None:
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert Signer([secret]).hub_signature(body) == expected


@given(SECRETS, st.text(max_size=300))
def test_the_reference_verifies_standard_webhooks(secret: str, text: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    body = f'{{"a":"{text.encode().hex()}"}}'
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer([secret]).standard_signature("evt_1", int(now.timestamp()), body.encode()),
    }
    assert Webhook(secret).verify(body, headers) == {"a": text.encode().hex()}
    assert Webhook(secret).sign("evt_1", now, body) == headers["webhook-signature"]


def test_the_specification_s_own_example_is_reproduced() -> None:
    signer = Signer(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    assert (
        signer.standard_signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_rotation_signs_with_each_live_secret_newest_first() -> None:
    body = b"{}"
    both = Signer([NEW, OLD])
    assert both.standard_signature("e", 1, body) == " ".join(
        (Signer([NEW]).standard_signature("e", 1, body), Signer([OLD]).standard_signature("e", 1, body))
    )
    assert both.hub_signature(body) == Signer([NEW]).hub_signature(body)
    assert Signer([NEW, OLD], hub_secret=OLD).hub_signature(body) == Signer([OLD]).hub_signature(body)


def test_signing_leaves_nothing_behind() -> None:
    signer = Signer([NEW])
    first = (signer.hub_signature(b"a"), signer.standard_signature("e", 1, b"a"))
    signer.hub_signature(b"b")
    signer.standard_signature("f", 2, b"b")
    assert (signer.hub_signature(b"a"), signer.standard_signature("e", 1, b"a")) == first


@pytest.mark.parametrize("change", [("e2", 1, b"a"), ("e", 2, b"a"), ("e", 1, b"a ")])
def test_id_time_and_body_are_all_signed(change: tuple[str, int, bytes]) -> None:
    assert Signer([NEW]).standard_signature(*change) != Signer([NEW]).standard_signature("e", 1, b"a")


def test_a_subscription_without_secrets_cannot_sign() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Signer([])
