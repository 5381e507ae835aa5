"""Certificates and kubeconfigs of a native cluster: one authority for everyone, one for the front proxy."""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority whose files lie in a folder as NAME.crt and NAME.key."""

    folder: Path
    name: str
    key: Key
    certificate: x509.Certificate

    @property
    def path(self) -> Path:
        """The authority's certificate, PEM."""
        return self.folder / f"{self.name}.crt"

    @classmethod
    def create(cls, *, folder: Path, name: str, hosts: Sequence[str] = (), key: Key | None = None) -> Authority:
        """Make an authority and write its files.

        Args:
            folder: where they go.
            name: of the files and of the authority.
            hosts: names among its subject's alternatives, for those who look for one there.
            key: for those who want another kind than an elliptic curve.
        """
        folder.mkdir(parents=True, exist_ok=True)
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = _subject(common_name=name, organization=None)
        builder = (
            _builder(subject=subject, issuer=subject, key=key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(authority=True), critical=True)
        )
        certificate = _named(builder, hosts=hosts).sign(key, hashes.SHA256())
        _write(folder=folder, name=name, key=key, certificate=certificate)
        return cls(folder=folder, name=name, key=key, certificate=certificate)

    def issue(self, *, name: str, common_name: str, organization: str | None = None, hosts: Sequence[str] = ()) -> None:
        """Write NAME.crt and NAME.key for a client, and for a server where hosts (names or addresses) are given."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(
            subject=_subject(common_name=common_name, organization=organization),
            issuer=self.certificate.subject,
            key=key,
        )
        builder = builder.add_extension(_usage(authority=False), critical=True).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        certificate = _named(builder, hosts=hosts).sign(self.key, hashes.SHA256())
        _write(folder=self.folder, name=name, key=key, certificate=certificate)


def service_account_keys(*, folder: Path) -> None:
    """Write sa.key and sa.pub, with which the API server signs and checks service account tokens."""
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "sa.key").write_bytes(_pem(key))
    (folder / "sa.pub").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def kubeconfig(*, path: Path, server: str, folder: Path, name: str) -> None:
    """Write a kubeconfig for the client certificate NAME in a folder."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "native", "cluster": {"server": server, "certificate-authority": str(folder / "ca.crt")}}
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate": str(folder / f"{name}.crt"),
                    "client-key": str(folder / f"{name}.key"),
                },
            }
        ],
        "contexts": [{"name": "native", "context": {"cluster": "native", "user": name}}],
        "current-context": "native",
    }
    path.write_text(json.dumps(content))
    path.chmod(0o600)


def _builder(*, subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365))
    )


def _named(builder: x509.CertificateBuilder, *, hosts: Sequence[str]) -> x509.CertificateBuilder:
    if not hosts:
        return builder
    return builder.add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)


def _subject(*, common_name: str, organization: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _write(*, folder: Path, name: str, key: Key, certificate: x509.Certificate) -> None:
    secret = folder / f"{name}.key"
    secret.touch(mode=0o600)
    secret.write_bytes(_pem(key))
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
