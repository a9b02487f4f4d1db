"""Explains why a control plane cannot be reached: what is at its address instead, and what to do about it.

``probe`` finds out, by one request on a separate connection; it sends no token, since an unknown server may be
listening. ``cause`` words the explanation. The commands and the Rust SDK do and say the same.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import re
import socket
import ssl
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional

from . import _tls
from .errors import GleitzeitError, unreached

#: How many seconds a probe may take in all, however many requests it makes.
LIMIT = 2.0
#: How much of an answer is read, in bytes; the part that identifies the server is at its start.
MOST = 4096
#: How many characters are shown of an unknown server's answer, or of a control plane's refusal.
SHOWN, SHOWN_REFUSAL = 60, 300
#: How the body of a control plane's answer to an unknown path begins.
OURS = "nothing is served here; gRPC, Socket.IO"
#: What servers answer to plain HTTP on a port for TLS: nginx, Go, Apache.
WANTS_TLS = (
    "plain HTTP request was sent to HTTPS port",
    "an HTTP request to an HTTPS server",
    "plain HTTP to an SSL-enabled",
)
NAME_IT = "name the control plane's address with GLEITZEIT_HUB_URL or `url`"
#: Codes of the error table.
CODES = {
    "NETWORK_UNREACHABLE": -25001,
    "CONNECTION_REFUSED": -25002,
    "CONNECTION_TIMEOUT": -25003,
    "CONNECTION_LOST": -25004,
    "AUTHENTICATION_FAILED": -25005,
    "AUTHORIZATION_FAILED": -25006,
    "NOT_A_CONTROL_PLANE": -25007,
    "CERTIFICATE_NOT_TRUSTED": -25008,
}
#: The beginning of HTTP/2: its preface and an empty SETTINGS frame.
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
#: A request for a WebSocket as providers send it, but without a token; its key is the example of RFC 6455.
UPGRADE = "\r\n".join(
    (
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
        "host: {}",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "\r\n",
    )
)
#: A gRPC call, as far as HTTP/1 can carry one, that asks for the overall health, which everybody may ask for.
CALL = "\r\n".join(
    (
        "POST /grpc.health.v1.Health/Check HTTP/1.1",
        "host: {}",
        "content-type: application/grpc",
        "te: trailers",
        "connection: close",
        "content-length: 5",
        "\r\n\0\0\0\0\0",
    )
)
#: What a proxy does not forward: the message, and what to change in the proxy's configuration.
LACKS = {
    "http2": ("speaks HTTP/1 only, and gRPC needs HTTP/2", "configure the proxy to accept HTTP/2 and to forward calls over it (nginx: `listen … ssl http2` and `grpc_pass`)"),
    "grpc": ("forwards calls over HTTP/1, and gRPC needs HTTP/2", "configure the proxy to forward calls over HTTP/2 (nginx: `grpc_pass grpc://…` for `/gleitzeit.v1.` and `/grpc.`)"),
    "refused": (
        "forwards gRPC calls in a form that the control plane refuses",
        "configure the proxy to forward the host name of the request (nginx: `grpc_set_header Host $host;`), and start the "
        "control plane with `--allow-host` of that name",
    ),
    "upgrade": (
        "does not forward WebSocket upgrades, which components need",
        "configure the proxy to forward them (nginx: `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
        "proxy_set_header Connection upgrade;` for `/socket.io/`)",
    ),
}


@dataclass(frozen=True)
class Found:
    """What was found at an address: ``kind`` is one of ``no_host``, ``refused``, ``unreachable``, ``no_answer``,
    ``silent``, ``closed``, ``tls``, ``not_tls``, ``no_handshake``, ``unknown_host``, ``wants_certificate``,
    ``untrusted``, ``http``, ``http2``, ``control_plane``, ``refusal`` and ``other``."""

    kind: str
    #: The reason given by the system or the server.
    text: str = ""
    #: The status of an HTTP answer.
    status: int = 0
    #: The name that an HTTP server, or the proxy in front of a control plane, gives itself; for a refusal its code's name.
    name: str = ""
    #: What to do about a certificate.
    hint: str = ""
    #: What the proxy in front of a control plane does not forward: one of ``LACKS``.
    lacks: str = ""

    @property
    def may_pass(self) -> bool:
        """Whether this may change soon: a control plane that is restarting looks like this for a while."""
        passing = ("refused", "unreachable", "no_answer", "silent", "closed", "no_handshake")
        return self.kind in passing or self.is_gateway or (self.kind == "control_plane" and not self.lacks)

    @property
    def is_gateway(self) -> bool:
        """Whether this is a proxy that cannot reach its server."""
        return self.kind == "http" and 502 <= self.status <= 504


@dataclass(frozen=True)
class Cause:
    """Why a control plane cannot be reached, in a form that can be shown to people."""

    code: int
    name: str
    message: str
    hint: str
    may_pass: bool


def explained(error: GleitzeitError, url: str, was_reached: bool, ca: Optional[str] = None) -> GleitzeitError:
    """The error of a failed call. If the control plane could not be reached, probes the address and explains why.

    A lasting cause is only waited for if the control plane ``was_reached`` before.
    """
    if not error.unreachable or error.name not in ("CONNECTION_LOST", "CONNECTION_TIMEOUT"):
        return error
    found = look(url, "gRPC", error._reason, ca)
    why = cause(url, found, error._reason)
    if found.kind == "control_plane" and not found.lacks:
        # The control plane was busy, starting or stopping; unless there is a proxy in between.
        if "proxy of" not in why.hint:
            return error
        return unreached(error, error.message, error.code, error.name, why.hint, error._is_lasting)
    is_lasting = error._is_lasting or why.name == "CONNECTION_TIMEOUT" or not (why.may_pass or was_reached)
    return unreached(error, why.message, why.code, why.name, why.hint, is_lasting)


def innermost(problem: BaseException) -> str:
    """The most specific cause: the last of the chain."""
    while True:
        deeper = problem.__cause__ or problem.__context__
        if deeper is None:
            return str(problem) or type(problem).__name__
        problem = deeper


def of_answer(answer: bytes, ended: bool) -> Found:
    """Classifies the answer to an HTTP/1 request; ``ended`` says whether the connection was closed after it."""
    if not answer:
        return Found("closed" if ended else "silent")
    if 0x14 <= answer[0] <= 0x17 and answer[1:2] == b"\x03":
        return Found("tls")
    if answer.startswith(b"HTTP/1."):
        return _http(answer.decode("utf-8", "replace"))
    # A frame of the connection (stream 0): SETTINGS, with which both sides begin, or GOAWAY.
    if len(answer) >= 9 and answer[3] in (4, 7) and answer[5:9] == bytes(4):
        return Found("http2")
    return Found("other", shown(answer.decode("utf-8", "replace")))


def _http(answer: str) -> Found:
    head, _, body = answer.partition("\r\n\r\n")
    first, *lines = head.splitlines()
    status = first.split(" ")[1] if first.count(" ") else ""
    servers = [line.partition(":")[2] for line in lines if line.lower().startswith("server:")]
    proxies = servers or [line.partition(":")[2] for line in lines if line.lower().startswith("via:")]
    if any(text in body for text in WANTS_TLS):
        return Found("tls")
    # nginx's wording.
    if "No required SSL certificate was sent" in body:
        return Found("wants_certificate")
    # A body without a length comes in chunks, each after a line with its size.
    body = next((line for line in body.splitlines() if " " in line), body).strip()
    if body.startswith(OURS):
        return Found("control_plane", name=shown(proxies[0]) if proxies else "")
    name, separator, text = body.partition(": ")
    if separator and name in CODES:
        return Found("refusal", shown(text, SHOWN_REFUSAL), name=name)
    number = int(status) if status.isdecimal() else 0
    return Found("http", status=number, name=shown(servers[0]) if servers else "")


def shown(text: str, most: int = SHOWN) -> str:
    """The start of the first non-empty line, without characters that a terminal would interpret."""
    line = next((it.strip() for it in text.splitlines() if it.strip()), "")
    clean = "".join(it if it.isprintable() else f"\\u{{{ord(it):x}}}" for it in line[:most])
    return f"{clean}…" if len(line) > most else clean


def cause(
    url: str, found: Found, reason: str, speech: str = "gRPC", environment: Optional[Mapping[str, str]] = None
) -> Cause:
    """Explains what was found at ``url`` after a connection failed for ``reason``, in the connection's own words.

    ``speech`` is the caller's protocol: ``gRPC``, or ``WebSocket``, which providers use.
    """
    name, message = _message(url, found, speech, reason)
    code = CODES[name]
    hint = _hint(url, found, speech)
    note = _proxy(url, speech, os.environ if environment is None else environment)
    if note and name in ("NETWORK_UNREACHABLE", "CONNECTION_TIMEOUT", "CONNECTION_REFUSED", "CONNECTION_LOST"):
        hint = f"{hint}; {note}"
    return Cause(code, name, message, hint, found.may_pass)


def _message(url: str, found: Found, speech: str, reason: str) -> tuple[str, str]:
    host = urllib.parse.urlsplit(url).hostname or ""
    kind = found.kind
    server = f", server `{found.name}`" if found.name else ""
    if kind == "no_host":
        return "NETWORK_UNREACHABLE", f"cannot connect to {url}: no address is known for the host `{host}` ({found.text})"
    if kind == "refused":
        return "CONNECTION_REFUSED", f"cannot connect to {url}: nothing listens there (connection refused)"
    if kind == "unreachable":
        return "NETWORK_UNREACHABLE", f"cannot connect to {url}: {found.text}"
    if kind == "no_answer":
        return "CONNECTION_TIMEOUT", f"cannot connect to {url}: the host does not answer ({reason})"
    if kind == "silent":
        text = f"{url} accepts connections but sends nothing ({reason})"
        return "CONNECTION_TIMEOUT", f"{text}: either no control plane listens there, or it is stuck"
    if kind == "closed":
        text = f"{url} accepts connections and closes them without an answer"
        return "CONNECTION_LOST", f"{text}: no control plane answers there"
    if kind == "untrusted":
        return "CERTIFICATE_NOT_TRUSTED", f"cannot connect to {url}: {found.text}"
    if kind == "unknown_host":
        text = f"the server there does not serve the host name `{host}` over TLS"
        return "CONNECTION_LOST", f"cannot connect to {url}: {text}"
    if kind == "wants_certificate":
        text = "the server there requires a client certificate, and clients here have none"
        return "CONNECTION_LOST", f"cannot connect to {url}: {text}"
    if kind == "no_handshake":
        return "CONNECTION_LOST", f"{url} is a port for TLS, but the handshake fails: {found.text}"
    if kind == "tls":
        return "NOT_A_CONTROL_PLANE", f"{url} is a port for TLS (https), but the client used plain HTTP"
    if kind == "not_tls":
        return "NOT_A_CONTROL_PLANE", f"{url} is not a port for TLS: the server there does not use TLS"
    if found.is_gateway:
        text = f"{url} leads to a proxy that cannot reach its control plane: it answers {found.status}{server}"
        return "NETWORK_UNREACHABLE", text
    if kind == "http":
        text = f"another HTTP server answers there (status {found.status}{server})"
        return "NOT_A_CONTROL_PLANE", f"{url} is not a control plane: {text}"
    if kind == "http2":
        text = "another server answers there, which speaks HTTP/2 only, as gRPC does"
        return "NOT_A_CONTROL_PLANE", f"{url} is not a control plane: {text}"
    if kind == "control_plane" and found.lacks:
        proxy = f" (`{found.name}`)" if found.name else ""
        text = f"a control plane answers at {url}, but the proxy in front of it{proxy} {LACKS[found.lacks][0]}"
        return "CONNECTION_LOST", f"{text}: {found.text}" if found.text else text
    if kind == "control_plane":
        return "CONNECTION_LOST", f"a control plane answers at {url}, but {speech} does not get through: {reason}"
    if kind == "refusal":
        return found.name, f"the control plane at {url} refuses the connection: {found.text}"
    text = f"the server there does not speak HTTP; its answer is `{found.text}`"
    return "NOT_A_CONTROL_PLANE", f"{url} is not a control plane: {text}"


def _hint(url: str, found: Found, speech: str) -> str:
    kind = found.kind
    if kind == "refused":
        return "start one with `gleitzeit start`, or name one with GLEITZEIT_HUB_URL or `url`"
    if kind == "no_host":
        return f"check the spelling of the host and this machine's DNS, or {NAME_IT}"
    if kind in ("unreachable", "no_answer"):
        return f"check the address, the network, and firewalls between here and there, or {NAME_IT}"
    if kind in ("silent", "closed"):
        return f"see what listens there (`ss -ltnp`), or {NAME_IT}"
    if kind == "untrusted":
        return found.hint
    if kind == "unknown_host":
        return f"use a name that the proxy there serves (nginx: `server_name`, and a certificate for it), or {NAME_IT}"
    if kind == "wants_certificate":
        return "configure the proxy to ask for none (nginx: `ssl_verify_client off;`); the token authenticates clients"
    if kind == "no_handshake":
        return f"see the log of the proxy that terminates TLS there: it must know this host name and offer TLS 1.2 or 1.3; or {NAME_IT}"
    if kind == "tls":
        return f"write `https://` if a TLS proxy is in front of the control plane, or {NAME_IT}"
    if kind == "not_tls":
        return f"write `http://` if this is the control plane's own port, or {NAME_IT}"
    if found.is_gateway:
        return "start the control plane behind it, or see the proxy's log"
    if kind == "http2" and url.endswith(":4317"):
        return f"port 4317 is the usual port of OpenTelemetry collectors: {NAME_IT}"
    if kind in ("http", "http2", "other"):
        return f"another program uses the port: {NAME_IT}, or start one on a free port: `gleitzeit start --port PORT`"
    if kind == "control_plane" and found.lacks:
        plain = found.lacks == "http2" and not url.startswith("https:")
        return LACKS[found.lacks][1] + ("; most proxies support this only over TLS: use `https://`" if plain else "")
    if kind == "control_plane":
        needs = "HTTP/2" if speech == "gRPC" else "WebSockets"
        return f"try again; a proxy or load balancer in between must support {needs}"
    return "see the message for the option that allows it"


def is_local(url: str) -> bool:
    """Whether an address is on this machine, which no proxy can reach for us."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127\.\d+\.\d+\.\d+", host) is not None


def _proxy(url: str, speech: str, environment: Mapping[str, str]) -> str:
    """A hint about the proxy that the environment names, if it names one."""
    if is_local(url):
        return ""
    if speech != "gRPC":
        own = ("https_proxy", "HTTPS_PROXY") if url.startswith("https:") else ("http_proxy", "HTTP_PROXY")
        names = (*own, "all_proxy", "ALL_PROXY")
        name = next((it for it in names if environment.get(it)), "")
        return f"{name} is set, but providers reach control planes directly, not through a proxy" if name else ""
    # In the order in which gRPC reads them; it uses the first that is set.
    name = next((it for it in ("grpc_proxy", "https_proxy", "http_proxy") if environment.get(it)), "")
    host = urllib.parse.urlsplit(url).hostname or ""
    exempt = environment.get("no_grpc_proxy") or environment.get("no_proxy") or ""
    if not name or any(it.strip() and host.endswith(it.strip()) for it in exempt.split(",")):
        return ""
    return f"gRPC goes through the proxy of {name}: set no_grpc_proxy={host} to reach it directly"


def look(url: str, speech: str, reason: str, ca: Optional[str] = None) -> Found:
    """Finds out what is at the address of a control plane, for a caller who could not connect for ``reason``; and what
    a proxy in front of it does not forward."""
    end = time.monotonic() + LIMIT

    def ask(said: bytes = b"") -> Found:
        return probe(url, max(end - time.monotonic(), 0.01), ca, said)

    found = ask()
    if found.kind != "control_plane":
        return found
    authority = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
    if speech != "gRPC":
        answer = ask(UPGRADE.format(authority).encode("ascii", "replace"))
        lacks = "upgrade" if answer.kind == "http" and answer.status != 101 and answer.status < 500 else ""
        return dataclasses.replace(found, lacks=lacks)
    refusal = ask(CALL.format(authority).encode("ascii", "replace"))
    if refusal.kind == "refusal":
        return dataclasses.replace(found, lacks="refused", text=refusal.text)
    if url.startswith("https:"):
        # From servers that name no protocol, and from those that refuse the offered one.
        speaks: Optional[bool] = not re.search("selected ALPN|NO_APPLICATION_PROTOCOL", reason)
    else:
        answer = ask(HTTP2)
        speaks = answer.kind == "http2" if answer.kind in ("http", "http2") and answer.status < 500 else None
    if speaks is False:
        return dataclasses.replace(found, lacks="http2")
    # gRPC's wording for an answer that is not gRPC.
    answered_otherwise = re.search(r"http2 header with status: [1-4]", reason)
    return dataclasses.replace(found, lacks="grpc") if speaks and answered_otherwise else found


def probe(url: str, limit: float = LIMIT, ca: Optional[str] = None, said: bytes = b"") -> Found:
    """Sends ``said``, or a request for the front page, to an address; returns what answers within ``limit`` seconds."""
    parts = urllib.parse.urlsplit(url)
    host, authority = parts.hostname or "", parts.netloc.rpartition("@")[2]
    end = time.monotonic() + limit

    def left() -> float:
        return max(end - time.monotonic(), 0.01)

    try:
        addresses = _addresses(host, parts.port or (443 if parts.scheme == "https" else 80), left())
    except TimeoutError:
        return Found("no_host", "the name servers do not answer")
    except (OSError, UnicodeError) as problem:
        return Found("no_host", getattr(problem, "strerror", None) or str(problem))
    found = Found("no_host", "it has none")
    for address in addresses:
        try:
            stream = socket.create_connection(address, left())
        except OSError as problem:
            found = _of_connect(problem)
            continue
        with stream:
            if parts.scheme == "https":
                return _ask_securely(stream, address, host, said or _front_page(authority), ca, left)
            return _ask(stream, said or _front_page(authority), left)
    return found


def _ask_securely(
    stream: socket.socket, address: tuple[str, int], host: str, said: bytes, ca: Optional[str], left: Callable[[], float]
) -> Found:
    """Probes over TLS; returns what answers, or why the handshake failed."""
    # Half of the time is left for a probe without TLS.
    stream.settimeout(left() / 2)
    try:
        with _tls.context(ca).wrap_socket(stream, server_hostname=host) as secure:
            return _ask(secure, said, left)
    except ssl.SSLCertVerificationError as problem:
        text, hint = _tls.untrusted(problem, host, _tls.shown_by(address, host, left))
        return Found("untrusted", text, hint=hint)
    except GleitzeitError as problem:
        return Found("untrusted", f"the certificate of `{host}` cannot be checked: {problem.message}", hint="correct that setting, or leave it out")
    except OSError as problem:
        reason = getattr(problem, "reason", None) or str(problem)
        if reason == "TLSV1_UNRECOGNIZED_NAME":
            return Found("unknown_host")
    # A server without TLS may well say nothing to a handshake, or something that is not TLS.
    try:
        with socket.create_connection(address, left()) as again:
            plain = _ask(again, _front_page(host), left)
    except OSError as problem:
        return _of_connect(problem)
    if plain.kind in ("silent", "closed", "tls"):
        return Found("no_handshake", str(reason).replace("_", " ").lower())
    return Found("not_tls")


def _addresses(host: str, port: int, limit: float) -> list[tuple[str, int]]:
    """Resolves a name. The system's look-up has no time limit, so it may continue in a thread that nobody waits for."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as problem:
            answers.put(problem)

    threading.Thread(target=look, name="gleitzeit-names", daemon=True).start()
    try:
        answer = answers.get(timeout=limit)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return [(it[4][0], it[4][1]) for it in answer]


def _of_connect(problem: OSError) -> Found:
    if isinstance(problem, ConnectionRefusedError):
        return Found("refused")
    if isinstance(problem, (socket.timeout, TimeoutError)):
        return Found("no_answer")
    if isinstance(problem, (ConnectionResetError, ConnectionAbortedError)):
        return Found("closed")
    return Found("unreachable", problem.strerror or str(problem))


def _front_page(authority: str) -> bytes:
    headers = f"host: {authority}\r\nuser-agent: gleitzeit-python\r\naccept: */*\r\nconnection: close"
    return f"GET / HTTP/1.1\r\n{headers}\r\n\r\n".encode("ascii", "replace")


def _ask(stream: socket.socket, said: bytes, left: Callable[[], float]) -> Found:
    answer, ended = b"", False
    try:
        stream.settimeout(left())
        stream.sendall(said)
    except OSError:
        pass  # a server that closes while it is spoken to may have sent a reason
    while len(answer) < MOST and not ended and not _is_whole(answer) and left() > 0.01:
        try:
            stream.settimeout(left())
            piece = stream.recv(1024)
        except (socket.timeout, TimeoutError):
            break
        except OSError:
            piece = b""
        answer, ended = answer + piece, not piece
    return of_answer(answer, ended)


def _is_whole(answer: bytes) -> bool:
    """Whether the answer is complete enough to classify; other protocols than HTTP/1 show in the first bytes."""
    if not b"HTTP/1.".startswith(answer[:7]):
        return len(answer) >= 9
    head, separator, body = answer.partition(b"\r\n\r\n")
    if separator and re.match(rb"HTTP/1\.\d 101", head):
        return True  # the following bytes are no longer HTTP
    length = re.search(rb"(?im)^content-length:\s*(\d+)", head)
    return bool(separator) and length is not None and len(body) >= int(length[1])
