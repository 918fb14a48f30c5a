"""TLS from PEM files, which are checked before the gateway listens."""

from __future__ import annotations

import logging
import ssl
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from trimtab.clock import Clock, SystemClock, from_micros
from trimtab.errors import MissingExtra, PolicyError

ENDS_SOON = timedelta(days=14)
NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: `_check_validity` checks the dates, with the injected clock."""

logger = logging.getLogger(__name__)


class PemFiles(Protocol):
    """Paths of PEM files: certificate with its chain, private key, and authorities of client certificates."""

    @property
    def certificate(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def client_ca(self) -> str | None:
        """Authorities, of which one must have signed a client's certificate; None: clients need none."""
        ...


def server_context(files: PemFiles, clock: Clock | None = None) -> ssl.SSLContext:
    """Return the context of a server for HTTP/1.1 over TLS 1.2 or newer.

    Logs a warning when the certificate ends within 14 days. Raises PolicyError for a file that is missing or no
    PEM file, a key that is encrypted or another certificate's, and a certificate that is not valid now or not
    meant for servers.
    """
    certificate, key = Path(files.certificate), Path(files.key)
    chain = _read(certificate, "certificate", "CERTIFICATE")
    if "ENCRYPTED" in _read(key, "key", "PRIVATE KEY"):
        raise _wrong(key, "key", "the key is encrypted; expected one without a password, readable by the gateway alone")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _wrong(key, "key", f"it is not the key of the certificate {certificate}") from None
        raise _wrong(certificate, "certificate", f"this and {key} cannot be used: {error.reason or error}") from None
    _check_validity(certificate, _own_certificate(context, chain, certificate), clock or SystemClock())
    if files.client_ca is not None:
        authority = Path(files.client_ca)
        try:
            context.load_verify_locations(cadata=_read(authority, "client_ca", "CERTIFICATE"))
        except ssl.SSLError as error:
            raise _wrong(authority, "client_ca", f"cannot be used: {error.reason or error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def grpc_credentials(files: PemFiles, clock: Clock | None = None) -> Any:
    """Return gRPC's server credentials from the same files, after the same checks; changed files are loaded again.

    Raises PolicyError, MissingExtra.
    """
    server_context(files, clock)
    try:
        grpc = import_module("grpc")
    except ImportError:
        raise MissingExtra("grpcio", "grpc") from None
    watch = PemWatch(files)

    def read() -> Any:
        roots = None if files.client_ca is None else Path(files.client_ca).read_bytes()
        pair = (Path(files.key).read_bytes(), Path(files.certificate).read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], roots)

    def renewed() -> Any:
        """Return the files if they have changed. gRPC calls this for each connection, in its own threads."""
        try:
            if not watch.changed():
                return None
            server_context(files, clock)
            return read()
        except (PolicyError, OSError) as error:
            logger.error("the new certificate cannot be used, gRPC keeps the old one: %s", error)
            return None

    return grpc.dynamic_ssl_server_credentials(read(), renewed, files.client_ca is not None)


class PemWatch:
    """Detects changes of PEM files."""

    def __init__(self, files: PemFiles) -> None:
        self._paths = [Path(name) for name in (files.certificate, files.key, files.client_ca) if name is not None]
        self._seen = self._look()

    def changed(self) -> bool:
        """Return True if a file has changed since the last call; False while one is missing, as during a change."""
        now = self._look()
        if now is None or now == self._seen:
            return False
        self._seen = now
        return True

    def _look(self) -> list[tuple[int, int, int]] | None:
        try:
            found = [path.stat() for path in self._paths]
        except OSError:
            return None
        return [(one.st_ino, one.st_size, one.st_mtime_ns) for one in found]


def _read(path: Path, what: str, label: str) -> str:
    try:
        text = path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise _wrong(path, what, f"cannot be read: {error.strerror}") from None
    if f"{label}-----" not in text or "-----BEGIN" not in text:
        raise _wrong(path, what, f"not a PEM file with a {label.lower()} ('-----BEGIN {label}-----')")
    return text


def _own_certificate(context: ssl.SSLContext, chain: str, path: Path) -> dict[str, Any]:
    """Return the certificate as a client sees it, by a handshake in memory, since ssl has no parser."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(NO_CHECK_TIME)
    try:
        client.load_verify_locations(cadata=chain)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        near = client.wrap_bio(to_client, to_server)
        far = context.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(3):
            for side in (near, far):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        return dict(near.getpeercert() or {})
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        raise _wrong(path, "certificate", f"clients would refuse it: {why}") from None


def _check_validity(path: Path, found: dict[str, Any], clock: Clock) -> None:
    now = clock.now()
    start, end = _time(found["notBefore"]), _time(found["notAfter"])
    if now < start:
        raise _wrong(path, "certificate", f"not valid before {start:%Y-%m-%d %H:%M} UTC")
    if now >= end:
        raise _wrong(path, "certificate", f"expired on {end:%Y-%m-%d %H:%M} UTC; put a new one there")
    if now >= end - ENDS_SOON:
        logger.warning("%s: the certificate expires on %s UTC", path, f"{end:%Y-%m-%d %H:%M}")


def _time(text: str) -> datetime:
    return from_micros(ssl.cert_time_to_seconds(text) * 1_000_000)


def _wrong(path: Path, what: str, why: str) -> PolicyError:
    return PolicyError(f"{path}: {why} (serving.tls.{what} in trimtab.yaml)")
