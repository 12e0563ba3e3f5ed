"""Whom we trust, and as whom we come: the TLS settings of outgoing connections. Verification is never off."""

import asyncio
import contextlib
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hookline.credentials import Trust
from hookline.egress.faults import UNUSABLE_CERTIFICATE, Fault
from hookline.errors import StartRefused

PROTOCOLS: Final = ["http/1.1"]
CONTEXTS_MAX: Final = 100
"""Of callbacks with settings of their own: about 0.9 MB each, most of it the machine's authorities. One that was used
longest ago is made again when it is needed, in 40 ms beside the loop."""


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


class Contexts:
    """The settings at hand, made once for each trust that is in use. Use it inside one event loop."""

    def __init__(self, default: ssl.SSLContext, ca_file: str | None = None) -> None:
        self._default = default
        self._ca_file = ca_file
        self._made: OrderedDict[Trust, ssl.SSLContext] = OrderedDict()
        self._making = asyncio.Lock()

    async def of(self, trust: Trust | None) -> ssl.SSLContext | Fault:
        """Return the settings for a trust, None being the installation's own; a fault where OpenSSL takes it not."""
        if trust is None:
            return self._default
        if trust not in self._made:
            async with self._making:  # one at a time, so that attempts which start together make one and share it
                fault = await self._make(trust)
            if fault is not None:
                return fault
        self._made.move_to_end(trust)
        return self._made[trust]

    async def _make(self, trust: Trust) -> Fault | None:
        if trust in self._made:
            return None
        try:
            context = await asyncio.to_thread(own_context, trust, self._ca_file)
        except (ssl.SSLError, StartRefused):
            return UNUSABLE_CERTIFICATE
        self._made[trust] = context
        if len(self._made) > CONTEXTS_MAX:
            self._made.popitem(last=False)
        return None


def own_context(trust: Trust, ca_file: str | None = None) -> ssl.SSLContext:
    """Return settings of one callback: the installation's, with its certificate and its authorities added.

    Raises `ssl.SSLError` where OpenSSL does not take them.
    """
    context = client_context(ca_file)
    if trust.authorities is not None:
        context.load_verify_locations(cadata=trust.authorities)
    if trust.certificate is not None and trust.private_key is not None:
        with _file(trust.certificate) as certificate, _file(trust.private_key) as private_key:
            context.load_cert_chain(certificate, private_key, password=_no_password)
    return context


def _no_password() -> str:
    """Answer OpenSSL, which would otherwise ask at the terminal."""
    return ""


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    """Lend a text as a file, as Python's `ssl` reads keys from files alone: one in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pem"), "wb") as file:
            file.write(text.encode())
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # only its owner may read it, and it goes with this block
            file.write(text.encode())
            file.flush()
            yield file.name


def trusted_places() -> list[str]:
    """Return the files and directories of this machine that hold authorities; none: every certificate is refused."""
    paths = ssl.get_default_verify_paths()
    places = (Path(each) for each in (paths.cafile, paths.capath) if each)
    return [str(place) for place in places if place.is_file() or any(place.glob("*.0"))]
