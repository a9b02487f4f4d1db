"""Which certificates are trusted, and the error for one that is not: with the same roots and texts as the commands.

The trusted roots are those that gRPC brings, those of the files that ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name or
else the machine's own, and those of ``ca`` (``GLEITZEIT_CA``).
"""

from __future__ import annotations

import base64
import binascii
import functools
import ipaddress
import os
import pathlib
import pkgutil
import re
import socket
import ssl
from typing import Callable, Mapping, Optional

from . import _x509
from .errors import GleitzeitError

CA_VARIABLE = "GLEITZEIT_CA"
#: The usual files of a machine's roots: Debian, Fedora, SUSE, and Alpine or macOS.
USUAL = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
#: The largest certificate file in bytes, and the most files of a folder.
MOST_BYTES, MOST_FILES = 16 << 20, 10_000
#: How many names of a certificate are shown.
SHOWN = 5
_ONE = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----")

# OpenSSL's codes for faults of a certificate.
EXPIRED, NOT_YET, OTHER_NAME, OTHER_ADDRESS = 10, 9, 62, 64
UNKNOWN_ISSUER = (2, 18, 19, 20, 21)


def roots(ca: Optional[str], environment: Optional[Mapping[str, str]] = None) -> bytes:
    """The roots, as PEM. A configured file that cannot be used is an error that names it."""
    return _roots(ca, *(_set(name, environment) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")))


def context(ca: Optional[str], environment: Optional[Mapping[str, str]] = None) -> ssl.SSLContext:
    """An SSL context for clients that trust these roots."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(cadata=roots(ca, environment).decode("ascii"))
    return made


def named(ca: Optional["str | os.PathLike[str]"]) -> Optional[str]:
    """The given file, or the one that the environment names."""
    return os.fspath(ca) if ca else _set(CA_VARIABLE, None)


def _set(name: str, environment: Optional[Mapping[str, str]]) -> Optional[str]:
    return (os.environ if environment is None else environment).get(name) or None


@functools.lru_cache(maxsize=4)
def _roots(ca: Optional[str], file: Optional[str], folders: Optional[str]) -> bytes:
    found = _certificates(pkgutil.get_data("grpc._cython", "_credentials/roots.pem") or b"")
    if file is None and folders is None:
        usual = next((it for it in USUAL if os.path.isfile(it)), None)
        found += _certificates(_read(usual, "the machine")) if usual else []
    if file is not None:
        found += _of_file(file, "SSL_CERT_FILE")
    for folder in filter(None, (folders or "").split(os.pathsep)):
        found += _of_folder(folder)
    if ca is not None:
        found += _of_file(ca, f"`ca` or {CA_VARIABLE}")
    # Most roots are in two of the lists.
    return "".join(ssl.DER_cert_to_PEM_cert(it) for it in dict.fromkeys(found)).encode("ascii")


def _certificates(text: bytes) -> list[bytes]:
    """The certificates of a PEM file, as DER. Those that cannot be parsed are skipped, as in the commands: every
    machine's list has old ones."""
    found, trial = [], ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for body in _ONE.findall(text):
        try:
            certificate = base64.b64decode(b"".join(body.split()), validate=True)
            trial.load_verify_locations(cadata=certificate)
        except (binascii.Error, ValueError, ssl.SSLError):
            continue
        found.append(certificate)
    return found


def _of_file(path: str, name: str) -> list[bytes]:
    text = _read(path, name)
    found = _certificates(text)
    if not found and _ONE.search(text):
        advice = "write the file anew from its source (`openssl x509 -in FILE -noout -text` shows whether it can be read)"
        raise _wrong(f"`{path}`, which {name} names, holds no certificate that can be read: {advice}")
    if not found:
        expected = "expected PEM (`-----BEGIN CERTIFICATE-----`); `openssl x509 -inform der` makes it from DER"
        raise _wrong(f"`{path}`, which {name} names, holds no certificate: {expected}")
    return found


def _of_folder(path: str) -> list[bytes]:
    found = []
    try:
        for entry in sorted(pathlib.Path(path).iterdir())[:MOST_FILES]:
            if entry.is_file():
                found += _certificates(_read(str(entry), "SSL_CERT_DIR"))
    except OSError as problem:
        raise _wrong(f"`{path}`, which SSL_CERT_DIR names, cannot be read: {problem.strerror}") from problem
    return found


def _read(path: str, name: str) -> bytes:
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            raise OSError(0, "it is no regular file")
        with open(path, "rb") as file:
            return file.read(MOST_BYTES)
    except OSError as problem:
        raise _wrong(f"`{path}`, which {name} names, cannot be read: {problem.strerror}") from problem


def _wrong(message: str) -> GleitzeitError:
    return GleitzeitError(message, code=-32602, name="INVALID_PARAMS", lasting=True)


def untrusted(problem: ssl.SSLCertVerificationError, host: str, certificate: bytes) -> tuple[str, str]:
    """What is wrong with the certificate that a host presented, and what to do about it."""
    read = _x509.read(certificate)
    issuer = read.issuer if read else "an unreadable issuer"
    code = problem.verify_code
    subject = f"the certificate of `{host}`, issued by `{issuer}`,"
    if code == EXPIRED and read:
        remedy = "renew it where TLS ends (the proxy), or set this machine's clock if that is wrong"
        return f"{subject} expired at {read.ends}", remedy
    if code == NOT_YET and read:
        return f"{subject} is valid only from {read.begins} on", "set this machine's clock, or wait until then"
    if code in (OTHER_NAME, OTHER_ADDRESS) and read:
        return _other_name(subject, host, read.names)
    if code in UNKNOWN_ISSUER and read and read.is_own:
        text = f"the certificate of `{host}` is self-signed (`{issuer}`) and is not a trusted root"
        return text, f"give that certificate, which the server's owner has, with {CA_VARIABLE} or `ca`"
    if code in UNKNOWN_ISSUER:
        text = f"the certificate of `{host}` is issued by `{issuer}`, and no trusted root issued it"
        chain = "if it is a public authority, have the server send the whole chain"
        return text, f"give the root certificate of `{issuer}` with {CA_VARIABLE} or `ca`; {chain}"
    return f"{subject} is not valid: {problem.verify_message}", "have another certificate made for it"


def _other_name(subject: str, host: str, names: tuple[str, ...]) -> tuple[str, str]:
    if not names:
        remedy = f"have it made with `-addext subjectAltName={_alternative(host)}`; a common name alone counts for nothing"
        return f"{subject} names no host (it has no subjectAltName)", remedy
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    shown = ", ".join(f"`{it}`" for it in names[:SHOWN])
    remedy = f"use an address with one of its names, or have one made for `{host}`"
    return f"{subject} is for {shown}{more} and not for `{host}`", remedy


def _alternative(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"


def shown_by(address: tuple[str, int], host: str, left: Callable[[], float]) -> bytes:
    """The certificate that a host presents, trusted or not; nothing if it no longer presents one."""
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(address, left()) as stream:
            stream.settimeout(left())
            with blind.wrap_socket(stream, server_hostname=host) as secure:
                return secure.getpeercert(True) or b""
    except OSError:
        return b""
