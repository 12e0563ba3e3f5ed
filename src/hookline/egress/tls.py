"""Whom we trust: the TLS settings of outgoing connections. Verification is never off."""

import ssl
from typing import Final

from hookline.errors import StartRefused

PROTOCOLS: Final = ["http/1.1"]


def client_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return settings that verify the receiver fully: chain, dates and name, TLS 1.2 at least.

    Trusts what the machine trusts (OpenSSL honours `SSL_CERT_FILE` and `SSL_CERT_DIR`) and the authorities in `ca_file`
    (PEM). Raises `StartRefused` where that file cannot be used. Not made by `ssl.create_default_context`, which would
    write session keys to the file that `SSLKEYLOGFILE` names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.set_alpn_protocols(PROTOCOLS)
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise StartRefused(
                f"HOOKLINE_CA_FILE: {ca_file} is no readable PEM file of certificates ({error})."
            ) from error
    return context
