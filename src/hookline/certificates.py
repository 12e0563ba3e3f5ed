"""What a company gives of certificates and keys: checked here, once, so that OpenSSL will take it. Pure.

PEM in, and out what may be shown of it. Whether a receiver accepts a certificate is the receiver's matter.
"""

import re
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hookline.errors import Invalid
from hookline.model import Certificate

PEM_CHARACTERS_MAX: Final = 64 * 1024
KEY_CHARACTERS_MAX: Final = 16 * 1024
CHAIN_MAX: Final = 10
AUTHORITIES_MAX: Final = 50
RSA_BITS: Final = range(2048, 8193)
"""Less is refused by OpenSSL's default level of security; more costs seconds a handshake."""
SUBJECT_CHARACTERS_MAX: Final = 500

_LABEL: Final = re.compile(r"-----BEGIN ([^-]*)-----")
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_WEAK_HASHES: Final = frozenset({"md5", "sha1"})

_CERTIFICATE: Final = "clientCertificate.certificate"
_KEY: Final = "clientCertificate.privateKey"
_AUTHORITIES: Final = "caCertificate"

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def client_certificate(certificate: str, private_key: str, now: int) -> Certificate:
    """Return what is shown of a client certificate (the chain, its own first); raise `Invalid` where it is unusable."""
    chain = _certificates(_CERTIFICATE, certificate, CHAIN_MAX)
    own = chain[0]
    shown = _shown(own)
    if shown.expires_at <= now:
        raise Invalid.field(_CERTIFICATE, "has expired. Give one that is valid.")
    hash_algorithm = own.signature_hash_algorithm
    if hash_algorithm is not None and hash_algorithm.name in _WEAK_HASHES:
        raise Invalid.field(_CERTIFICATE, f"is signed with {hash_algorithm.name.upper()}, which TLS takes no more.")
    if _public_key(_CERTIFICATE, own) != _public_key_of_private(private_key):
        raise Invalid.field(_KEY, "does not belong to the certificate. The certificate of the key comes first.")
    return shown


def authorities(bundle: str) -> tuple[Certificate, ...]:
    """Return what is shown of a bundle of authorities; raise `Invalid` where it is none."""
    return tuple([_shown(each) for each in _certificates(_AUTHORITIES, bundle, AUTHORITIES_MAX)])


def _certificates(field: str, text: str, count_max: int) -> Sequence[x509.Certificate]:
    if len(text) > PEM_CHARACTERS_MAX:
        raise Invalid.field(field, f"expected at most {PEM_CHARACTERS_MAX:,} characters, found {len(text):,}.")
    labels = _LABEL.findall(text)
    if not labels or set(labels) != {"CERTIFICATE"}:
        raise Invalid.field(field, "expected certificates in PEM (`-----BEGIN CERTIFICATE-----`) and nothing else.")
    if len(labels) > count_max:
        raise Invalid.field(field, f"expected at most {count_max} certificates, found {len(labels)}.")
    try:
        found = x509.load_pem_x509_certificates(text.encode("ascii"))
    except ValueError as error:  # not ASCII, no base64, no certificate
        raise Invalid.field(field, "cannot be read: is it whole, and PEM?") from error
    if len(found) != len(labels):
        raise Invalid.field(field, "cannot be read: is it whole, and PEM?")
    return found


def _shown(certificate: x509.Certificate) -> Certificate:
    try:
        subject = certificate.subject.rfc4514_string()
    except ValueError:
        subject = ""
    expires_at = int(certificate.not_valid_after_utc.timestamp() * 1000)
    return Certificate(subject=subject[:SUBJECT_CHARACTERS_MAX], expires_at=expires_at)


def _public_key(field: str, certificate: x509.Certificate) -> PublicKey:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid.field(field, "has a key of a kind that is not supported.") from error
    return _usable(field, key)


def _public_key_of_private(text: str) -> PublicKey:
    if len(text) > KEY_CHARACTERS_MAX:
        raise Invalid.field(_KEY, f"expected at most {KEY_CHARACTERS_MAX:,} characters, found {len(text):,}.")
    try:
        # Without the test for primes, which takes seconds for large keys; that it fits the certificate is what counts.
        key = load_pem_private_key(text.encode("ascii"), None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise Invalid.field(
            _KEY, "is encrypted. Give it without a passphrase; it is sealed before it is stored."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid.field(_KEY, "is no private key in PEM that can be read.") from None
    return _usable(_KEY, key.public_key())


def _usable(field: str, key: object) -> PublicKey:
    match key:
        case rsa.RSAPublicKey() if key.key_size in RSA_BITS:
            return key
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, _CURVES):
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case _:
            expected = f"RSA ({RSA_BITS[0]} to {RSA_BITS[-1]} bits), P-256, P-384, P-521 or Ed25519"
            raise Invalid.field(field, f"expected a key of {expected}.")
