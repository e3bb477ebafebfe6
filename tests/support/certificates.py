"""Certificates made on the spot by a private authority: good ones, and each kind of bad one. None is kept anywhere."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

__all__ = ["make_authority", "server_context", "write_certificate"]

_HERE = ("localhost", "127.0.0.1")
_AUTHORITY = trustme.CA()


def write_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A certificate for these names (by default this machine) with its authority behind it, and its key.

    The certificate's file is also what to trust it by.
    """
    leaf = _AUTHORITY.issue_cert(*(names or _HERE))
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    chain = [blob.bytes() for blob in leaf.cert_chain_pems]
    certificate.write_bytes(b"".join([*chain, _AUTHORITY.cert_pem.bytes()]))
    leaf.private_key_pem.write_to_path(str(key))
    return certificate, key


def make_authority(folder: Path) -> Path:
    """What to trust the authority by, as a file."""
    path = folder / "authority.pem"
    _AUTHORITY.cert_pem.write_to_path(str(path))
    return path


def server_context(kind: str) -> ssl.SSLContext:
    """The TLS of a server whose certificate is `good`, `expired`, `other_host` or `self_signed`."""
    authority = trustme.CA() if kind == "self_signed" else _AUTHORITY
    names = ("elsewhere.example",) if kind == "other_host" else _HERE
    yesterday = datetime.now(UTC) - timedelta(days=1)
    leaf = authority.issue_cert(*names, not_after=yesterday) if kind == "expired" else authority.issue_cert(*names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    if kind == "self_signed":
        authority.configure_trust(context)
    return context
