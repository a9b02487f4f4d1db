"""Reads the subject and the issuer of a certificate, as far as messages need them. Accepts any input, never raises."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from typing import Iterator, Optional

COMMON_NAME, ORGANIZATION, ALTERNATIVE_NAMES = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x1d\x11"
SEQUENCE, SET, OBJECT_ID, OCTETS, WIDE_TEXT = 0x30, 0x31, 0x06, 0x04, 0x1E
VERSION, EXTENSIONS = 0xA0, 0xA3
SHORT_TIME, DNS_NAME, IP_ADDRESS = 0x17, 0x82, 0x87
#: How many characters are shown of each part, and of each host name.
SHOWN, SHOWN_NAME = 64, 100


@dataclass(frozen=True)
class Certificate:
    """The parts of a certificate that messages show."""

    issuer: str
    #: Whether it names itself as its issuer.
    is_own: bool
    begins: str
    ends: str
    #: The hosts that it is valid for.
    names: tuple[str, ...]


def read(der: bytes) -> Optional[Certificate]:
    """Parses a certificate's DER; nothing if it is not a certificate."""
    try:
        whole = _inside(_inside(der))
        fields = [it for it in _fields(whole) if it[0] != VERSION]
        (_, issuer), (_, validity), (_, subject) = fields[2:5]
        begins, ends = list(_fields(validity))[:2]
        extensions = next((content for kind, content in fields[5:] if kind == EXTENSIONS), b"")
        return Certificate(_name(issuer), issuer == subject, _time(*begins), _time(*ends), tuple(_names(extensions)))
    except (IndexError, ValueError):
        return None


def _fields(text: bytes) -> Iterator[tuple[int, bytes]]:
    while text:
        kind, length, start = text[0], text[1], 2
        if length > 0x80:
            start = 2 + (length & 0x7F)
            length = int.from_bytes(text[2:start], "big")
        if len(text) < start + length:
            raise ValueError("it is cut off")
        yield kind, text[start : start + length]
        text = text[start + length :]


def _inside(text: bytes) -> bytes:
    kind, content = next(_fields(text), (0, b""))
    if kind != SEQUENCE:
        raise ValueError("it is no certificate")
    return content


def _name(text: bytes) -> str:
    parts: dict[bytes, str] = {}
    for _, group in _fields(text):
        for _, pair in _fields(group):
            (_, known), (kind, value) = list(_fields(pair))[:2]
            shown = value.decode("utf-16-be" if kind == WIDE_TEXT else "utf-8", "replace").strip()[:SHOWN]
            parts.setdefault(known, _printable(shown))
    common, organization = parts.get(COMMON_NAME), parts.get(ORGANIZATION)
    if common and organization and common != organization:
        return f"{common} ({organization})"
    return common or organization or "an issuer without a name"


def _printable(text: str) -> str:
    """The text with escapes for characters that a terminal interprets."""
    return "".join(it if it.isprintable() else f"\\u{{{ord(it):x}}}" for it in text)


def _time(kind: int, value: bytes) -> str:
    form = "%y%m%d%H%M%SZ" if kind == SHORT_TIME else "%Y%m%d%H%M%SZ"
    return datetime.datetime.strptime(value.decode("ascii"), form).strftime("%Y-%m-%dT%H:%M:%SZ")


def _names(extensions: bytes) -> Iterator[str]:
    for _, extension in _fields(_inside(extensions) if extensions else b""):
        parts = list(_fields(extension))
        if parts[0] == (OBJECT_ID, ALTERNATIVE_NAMES) and parts[-1][0] == OCTETS:
            for kind, value in _fields(_inside(parts[-1][1])):
                if kind == DNS_NAME:
                    yield _printable(value.decode("ascii", "replace")[:SHOWN_NAME])
                elif kind == IP_ADDRESS:
                    yield str(ipaddress.ip_address(value))
