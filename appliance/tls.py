"""The certificate that TLS handshakes present. It can be replaced while the appliance serves; open connections stay."""

from __future__ import annotations

import hashlib
import ssl

import config


class UnusableCertificate(Exception):
    """Why certificate and key cannot be used, in one line for the operator."""


class Certificate:
    """`front` is what the server listens with; every handshake is handed to the context that was put last."""

    def __init__(self, tls: config.Tls) -> None:
        self._context, self.digest = read(tls)
        self.front = self._context
        self.front.sni_callback = self._choose  # also called for clients that name no host

    def put(self, context: ssl.SSLContext, digest: str) -> None:
        self._context, self.digest = context, digest

    def _choose(self, handshake: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        handshake.context = self._context


def read(tls: config.Tls) -> tuple[ssl.SSLContext, str]:
    """The context, and a digest by which another pair of files is told from this one. Raises UnusableCertificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        content = tls.certificate.read_bytes() + tls.key.read_bytes()
    except (OSError, ssl.SSLError) as error:
        reason = f"server.tls: {tls.certificate} and {tls.key} cannot be used together: {error}"
        raise UnusableCertificate(reason) from error
    return context, hashlib.sha256(content).hexdigest()
