"""Certificates and keys that the tests of Content Credentials make for themselves."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from synchrorama.credentials import CERTIFICATE, KEY

USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def certificate(common_name: str, key, issuer=None, issuer_key=None, days: int = 30) -> x509.Certificate:
    """A certificate as C2PA wants it: an authority's own, or with ``issuer`` one for signing."""
    names = {NameOID.ORGANIZATION_NAME: "Test Studio", NameOID.COMMON_NAME: common_name}
    subject = x509.Name([x509.NameAttribute(kind, name) for kind, name in names.items()])
    authority, now = issuer is None, datetime.datetime.now(datetime.timezone.utc)
    signing_key = key if authority else issuer_key
    usage = {**dict.fromkeys(USAGES, False), "key_cert_sign" if authority else "digital_signature": True}
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject if authority else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def private(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass
class Keys:
    """Files: the authority, the signer's chain and its key, and what must not be taken for them."""

    folder: Path

    def __post_init__(self) -> None:
        root_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.root_key, self.root = root_key, certificate("Test Root", root_key)
        signer = certificate("Test Desk", self.key, self.root, root_key)
        expired = certificate("Test Desk", self.key, self.root, root_key, days=-1)
        for name, data in {
            "root.pem": pem(self.root),
            "chain.pem": pem(signer, self.root),
            "key.pem": private(self.key),
            "other key.pem": private(ec.generate_private_key(ec.SECP256R1())),
            "root key.pem": private(root_key),
            "expired.pem": pem(expired, self.root),
            "text.pem": b"neither a key nor a certificate",
        }.items():
            (self.folder / name).write_bytes(data)

    def environment(self, chain: str = "chain.pem", key: str = "key.pem", **more: str) -> dict[str, str]:
        return {CERTIFICATE: str(self.folder / chain), KEY: str(self.folder / key), **more}
