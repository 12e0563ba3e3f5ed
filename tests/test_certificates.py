"""Certificates and keys are taken where TLS will take them, and refused with what is wrong, before they are stored."""

from datetime import UTC, datetime

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from hookline import certificates
from hookline.certificates import AUTHORITIES_MAX, CHAIN_MAX, KEY_CHARACTERS_MAX, PEM_CHARACTERS_MAX
from hookline.errors import Invalid

AUTHORITY = trustme.CA()
LEAF = AUTHORITY.issue_cert("us@example.com", common_name="us", organization_name="Acme, Inc.")
OTHER = AUTHORITY.issue_cert("them@example.com")
CERTIFICATE = LEAF.cert_chain_pems[0].bytes().decode()
KEY = LEAF.private_key_pem.bytes().decode()
BUNDLE = AUTHORITY.cert_pem.bytes().decode()
NOW = int(datetime.now(UTC).timestamp() * 1000)


def _pem(key: object, encryption: object = None) -> str:
    return key.private_bytes(  # type: ignore[attr-defined,no-any-return]
        Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
    ).decode()


def _refused(certificate: str = CERTIFICATE, key: str = KEY, now: int = NOW) -> tuple[str, str]:
    with pytest.raises(Invalid) as caught:
        certificates.client_certificate(certificate, key, now)
    (field,) = caught.value.fields
    return field.field, field.message


def test_subject_and_expiry_are_shown() -> None:
    shown = certificates.client_certificate(CERTIFICATE, KEY, NOW)
    assert shown.subject.startswith("CN=us,")
    assert "Acme\\, Inc." in shown.subject
    assert shown.expires_at > NOW
    assert [each.expires_at > NOW for each in certificates.authorities(BUNDLE * 2)] == [True, True]


@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_chain_may_follow_and_lines_may_end_as_they_like(key_type: trustme.KeyType) -> None:
    leaf = AUTHORITY.issue_cert("us@example.com", key_type=key_type)
    chain = "".join(each.bytes().decode() for each in leaf.cert_chain_pems) + BUNDLE
    for text in (chain, chain.replace("\n", "\r\n"), f"Our certificate:\n{chain}"):
        certificates.client_certificate(text, leaf.private_key_pem.bytes().decode(), NOW)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected certificates in PEM"),
        ("no PEM", "expected certificates in PEM"),
        (KEY, "expected certificates in PEM"),
        (CERTIFICATE + KEY, "and nothing else"),
        (CERTIFICATE * (CHAIN_MAX + 1), "at most 10 certificates"),
        (CERTIFICATE + " " * PEM_CHARACTERS_MAX, "at most 65,536 characters"),
        (CERTIFICATE[:-40], "cannot be read"),
        (CERTIFICATE.replace("M", "!"), "cannot be read"),
        (CERTIFICATE + "ä", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
    ],
)
def test_text_that_is_no_certificate_is_refused(text: str, message: str) -> None:
    field, said = _refused(certificate=text)
    assert field == "clientCertificate.certificate"
    assert message in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no private key"),
        (CERTIFICATE, "is no private key"),
        (KEY[:-60], "is no private key"),
        ("ä", "is no private key"),
        (" " * (KEY_CHARACTERS_MAX + 1), "at most 16,384 characters"),
        (OTHER.private_key_pem.bytes().decode(), "does not belong to the certificate"),
        (_pem(load_pem_private_key(KEY.encode(), None), BestAvailableEncryption(b"p")), "is encrypted"),
        (_pem(rsa.generate_private_key(65537, 1024)), "expected a key of RSA (2048 to 8192 bits)"),
        (_pem(ec.generate_private_key(ec.SECP256K1())), "expected a key of"),
        (_pem(dsa.generate_private_key(1024)), "expected a key of"),
    ],
)
def test_key_that_is_not_of_the_certificate_is_refused_and_never_repeated(text: str, message: str) -> None:
    field, said = _refused(key=text)
    assert field == "clientCertificate.privateKey"
    assert message in said
    assert "BEGIN" not in said


def test_expired_certificate_is_refused() -> None:
    ends_at = certificates.client_certificate(CERTIFICATE, KEY, NOW).expires_at
    certificates.client_certificate(CERTIFICATE, KEY, ends_at - 1)
    assert _refused(now=ends_at) == ("clientCertificate.certificate", "has expired. Give one that is valid.")


@pytest.mark.parametrize("text", ["", "trust me", KEY, BUNDLE + KEY, BUNDLE * (AUTHORITIES_MAX + 1), BUNDLE[:-30]])
def test_bundle_of_anything_but_certificates_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        certificates.authorities(text)
    assert caught.value.fields[0].field == "caCertificate"
