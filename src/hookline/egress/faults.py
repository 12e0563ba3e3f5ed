"""What can go wrong on the other side, in words for a person. Pure.

No text names an address of ours, a rule or a time that was measured: members read them, and must learn nothing about
our network.
"""

import errno
import ssl
from typing import Final

from msgspec import Struct

from hookline.model import ErrorClass


class Fault(Struct, frozen=True):
    """Why there was no complete response head."""

    error: ErrorClass
    detail: str


BLOCKED: Final = Fault(ErrorClass.BLOCKED, "This name leads to an address that Hookline never calls.")
CLOSED: Final = Fault(ErrorClass.PROTOCOL, "The receiver closed the connection without an answer.")
CLOSED_MIDWAY: Final = Fault(ErrorClass.PROTOCOL, "The receiver closed the connection in the middle of its answer.")
RESET: Final = Fault(ErrorClass.PROTOCOL, "The receiver reset the connection without an answer.")
NO_ROUTE: Final = Fault(ErrorClass.CONNECT, "The receiver's address cannot be reached from here.")
PROXY_UNREACHED: Final = Fault(ErrorClass.CONNECT, "The proxy that Hookline sends through cannot be reached.")
PROXY_CLOSED: Final = Fault(ErrorClass.CONNECT, "The proxy that Hookline sends through closed the connection.")
PROXY_REFUSED: Final = Fault(
    ErrorClass.CONNECT, "The proxy that Hookline sends through could not connect to the receiver."
)
PROXY_REFUSES_US: Final = Fault(
    ErrorClass.CONNECT, "The proxy that Hookline sends through does not let it connect to the receiver."
)
PROXY_UNREADABLE: Final = Fault(
    ErrorClass.CONNECT, "The proxy that Hookline sends through gave an answer that is not HTTP."
)
CERTIFICATE_WANTED: Final = Fault(
    ErrorClass.TLS, "The receiver wants a client certificate, or another than this one: see `clientCertificate`."
)
UNUSABLE_CERTIFICATE: Final = Fault(
    ErrorClass.TLS, "The subscription's `clientCertificate` or `caCertificate` is not one that TLS takes. Set it again."
)
TLS_CLOSED: Final = Fault(ErrorClass.TLS, "The receiver closed the connection during the TLS handshake.")

NO_ROUTE_NUMBERS: Final = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""This machine has no way into the whole address family."""

_CONNECT_DETAILS: Final = {
    errno.ECONNREFUSED: "The receiver refused the connection.",
    errno.ECONNRESET: "The receiver reset the connection.",
    errno.EHOSTUNREACH: NO_ROUTE.detail,
}

_CERTIFICATE_ALERTS: Final = frozenset(
    {
        *("TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE"),
        *("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_REVOKED"),
        *("SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "TLSV1_ALERT_ACCESS_DENIED"),
    }
)
"""Said by a receiver that has seen our certificate, or none (RFC 8446, 6.2); in TLS 1.3 only after the handshake."""

# OpenSSL's X509_V_ERR_* numbers, `man X509_STORE_CTX_get_error`
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_SELF_SIGNED: Final = frozenset({18})
_UNKNOWN_ISSUER: Final = frozenset({2, 19, 20, 21})
_WRONG_NAME: Final = frozenset({62, 64})


def malformed(reason: str) -> Fault:
    """The answer is not HTTP as we read it; `reason` completes "The answer was not valid HTTP: ..."."""
    return Fault(ErrorClass.PROTOCOL, f"The answer was not valid HTTP: {reason}.")


def unanswered(timeout_seconds: float) -> Fault:
    """The deadline passed after the request was written."""
    return Fault(
        ErrorClass.TIMEOUT,
        f"No answer within {timeout_seconds:g} s. The receiver may still have handled the request, "
        "so it may see this `webhook-id` twice.",
    )


def unconnected(timeout_seconds: float) -> Fault:
    """The deadline passed before anything was written."""
    return Fault(ErrorClass.TIMEOUT, f"No connection within {timeout_seconds:g} s, so nothing was sent.")


def connect_slow(seconds: float) -> Fault:
    """An address accepted no connection in its own time."""
    return Fault(ErrorClass.CONNECT, f"The receiver accepted no connection within {seconds:g} s.")


def connect_failed(error: OSError) -> Fault:
    """A connection was refused or could not be made."""
    detail = _CONNECT_DETAILS.get(error.errno or 0, "No connection to the receiver could be made.")
    return Fault(ErrorClass.CONNECT, detail)


def closed(error: Exception | None) -> Fault:
    """The connection ended before any answer."""
    if isinstance(error, ssl.SSLError) and error.reason in _CERTIFICATE_ALERTS:
        return CERTIFICATE_WANTED
    return RESET if isinstance(error, ConnectionResetError) else CLOSED


def tls_slow(seconds: float) -> Fault:
    """The handshake did not end in its own time."""
    return Fault(ErrorClass.TLS, f"The TLS handshake was not complete within {seconds:g} s.")


def tls_failed(error: OSError, host: str, port: int) -> Fault:
    """The handshake failed, or the certificate does not prove that this is `host`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Fault(ErrorClass.TLS, _certificate_detail(error.verify_code, host))
    if not isinstance(error, ssl.SSLError):
        return TLS_CLOSED
    if error.reason in _CERTIFICATE_ALERTS:
        return CERTIFICATE_WANTED
    if error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}:
        return Fault(ErrorClass.TLS, f"The receiver does not speak TLS on port {port}.")
    if error.reason in {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"}:
        return Fault(ErrorClass.TLS, "The receiver does not offer TLS 1.2 or later.")
    return Fault(ErrorClass.TLS, "The TLS handshake failed.")


def _certificate_detail(code: int, host: str) -> str:
    if code == _EXPIRED:
        return "The receiver's certificate has expired."
    if code == _NOT_YET_VALID:
        return "The receiver's certificate is not valid yet."
    if code in _WRONG_NAME:
        return f"The receiver's certificate is not for {host}."
    if code in _SELF_SIGNED:
        return "The receiver's certificate is signed by itself, not by an issuer that Hookline trusts."
    if code in _UNKNOWN_ISSUER:
        return (
            "The receiver's certificate comes from an issuer that Hookline does not trust, "
            "or the receiver leaves out an intermediate certificate."
        )
    return "The receiver's certificate was not accepted."
