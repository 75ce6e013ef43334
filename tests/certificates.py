"""Certificates that sign themselves, made for a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOT_SOON = timedelta(days=1)


def self_signed(name: str) -> tuple[str, str]:
    """Certificate and key for a name, as PEM.

    Each has a subject of its own: of two with the same one OpenSSL trusts only that which ends last.
    """
    key, number = ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, str(number))])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), number)
    made = made.not_valid_before(now - NOT_SOON).not_valid_after(now + NOT_SOON)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return certificate.decode(), private.decode()


def self_signed_files(folder: Path, name: str) -> tuple[Path, Path]:
    """The same as files in `folder`."""
    files = folder / "tls.crt", folder / "tls.key"
    for file, text in zip(files, self_signed(name), strict=True):
        file.write_text(text)
    return files
