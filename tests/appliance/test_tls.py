"""Handshakes present the certificate that was put last; connections that stand keep theirs."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import config
from appliance.tls import Certificate, UnusableCertificate, read


def pair(folder: Path, name: str) -> config.Tls:
    """A self-signed certificate for this name, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    tls = config.Tls.model_construct(certificate=folder / f"{name}.pem", key=folder / f"{name}.key")
    tls.certificate.write_bytes(certificate.public_bytes(pem))
    tls.key.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return tls


async def shown(port: int, host: str | None) -> str:
    """The name in the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host or "")
    presented = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return str(x509.load_der_x509_certificate(presented).subject.rfc4514_string())


@pytest.mark.parametrize("host", ["gateway.example", None], ids=["named", "nameless"])
async def test_the_certificate_that_was_put_last_is_presented(tmp_path: Path, host: str | None) -> None:
    certificate = Certificate(pair(tmp_path, "one"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate.front)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await shown(port, host) == "CN=one"
        certificate.put(*read(pair(tmp_path, "two")))
        assert await shown(port, host) == "CN=two"


def test_the_digest_tells_pairs_apart(tmp_path: Path) -> None:
    one, two = pair(tmp_path, "one"), pair(tmp_path, "two")
    assert read(one)[1] == read(one)[1] == Certificate(one).digest
    assert read(one)[1] != read(two)[1]


def test_files_that_do_not_belong_together_are_refused_by_name(tmp_path: Path) -> None:
    one, two = pair(tmp_path, "one"), pair(tmp_path, "two")
    mixed = config.Tls.model_construct(certificate=one.certificate, key=two.key)
    with pytest.raises(UnusableCertificate, match=r"one\.pem and .*two\.key cannot be used together"):
        read(mixed)
    one.certificate.unlink()
    with pytest.raises(UnusableCertificate):
        Certificate(one)
