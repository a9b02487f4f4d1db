"""Over ``https``: clients and providers trust the configured roots, and explain why other certificates are refused."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from typing import Iterator, Optional

import pytest
from conftest import PATIENCE, Plane, running, until

from gleitzeit import AsyncClient, Client, GleitzeitError, _reach, _tls, _x509

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="skipped: openssl is not installed")

RUN = "01930000-0000-7000-8000-000000000001"
DAY = 86_400


class Authority:
    """A private authority, and the certificates that it issues."""

    def __init__(self, folder: pathlib.Path, name: str = "Lab Root") -> None:
        self.folder, self.ca = folder, folder / "ca.pem"
        self._openssl("req", "-x509", *KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN={name}", "-days", "2")

    def issue(self, file: str, names: str = "DNS:localhost,IP:127.0.0.1", *more: str) -> pathlib.Path:
        extensions = ["basicConstraints=critical,CA:FALSE"] + ([f"subjectAltName={names}"] if names else [])
        (self.folder / "extensions").write_text("\n".join(extensions))
        self._openssl("req", *KEY, "-keyout", f"{file}.key", "-out", f"{file}.csr", "-subj", "/CN=server")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions")
        self._openssl("x509", "-req", "-in", f"{file}.csr", "-out", f"{file}.pem", *signed, *(more or ("-days", "2")))
        return self.folder / f"{file}.pem"

    def own(self, file: str, *more: str) -> pathlib.Path:
        """One that signs itself, as its owner makes it in a hurry."""
        self._openssl("req", "-x509", *KEY, "-keyout", f"{file}.key", "-out", f"{file}.pem", "-subj", "/CN=own", *more)
        return self.folder / f"{file}.pem"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=PATIENCE)


KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.contextmanager
def front(certificate: pathlib.Path, port: Optional[int], alpn: tuple[str, ...] = ("h2", "http/1.1")) -> Iterator[str]:
    """A port that terminates TLS with a certificate and forwards the content to a local port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def hand_on(here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := here.recv(65_536):
                there.sendall(piece)
        for stream in (here, there):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def serve(raw: socket.socket) -> None:
        with contextlib.suppress(OSError):
            stream = context.wrap_socket(raw, server_side=True)
            if port is None:
                stream.close()
                return
            behind = socket.create_connection(("127.0.0.1", port), PATIENCE)
            behind.settimeout(None)
            open_ones.extend((stream, behind))
            threading.Thread(target=hand_on, args=(stream, behind), daemon=True).start()
            hand_on(behind, stream)

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(raw,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for stream in open_ones:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def test_clients_reach_a_control_plane_behind_tls(
    plane: Plane, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "name: one\ntasks:\n  - {id: a, method: util/echo, parameters: {value: 7}}\n"
    certificate = authority.issue("good")

    async def same(url: str) -> str:
        async with AsyncClient(url, ca=str(authority.ca)) as client:
            return (await client.run(text)).status

    with front(certificate, plane.port) as url:
        with Client(url, ca=str(authority.ca)) as client:
            run = client.submit(text)
            events = [event.type for event in client.watch(run.id)]
            assert client.wait(run.id).status == "completed" and events[-1] == "workflow_completed"
        assert asyncio.run(same(url)) == "completed"
        for variable in ("GLEITZEIT_CA", "SSL_CERT_FILE"):
            with monkeypatch.context() as environment:
                environment.setenv(variable, str(authority.ca))
                with Client(url) as client:
                    assert client.get(run.id).status == "completed"


def test_a_provider_serves_over_tls(plane: Plane, authority: Authority, tmp_path: pathlib.Path) -> None:
    program = "from gleitzeit import provider\nprovider.method('secure/one')(lambda: 1)\nprovider.serve()\n"
    certificate = authority.issue("provider")
    with front(certificate, plane.port) as url:
        with running(plane, program, tmp_path, GLEITZEIT_HUB_URL=url) as served:
            until("it says what is wrong", lambda: any("is issued by `Lab Root`" in line for line in served.said))
            line = next(line for line in served.said if "Lab Root" in line)
            assert url in line and "GLEITZEIT_CA" in line and "trying again" in line
        with running(plane, program, tmp_path, GLEITZEIT_HUB_URL=url, GLEITZEIT_CA=str(authority.ca)) as served:
            until("it serves", lambda: any(f"serving secure/one at {url}" in line for line in served.said))
            with Client(plane.url) as client:
                run = client.run("name: s\ntasks:\n  - {id: a, method: secure/one, timeout: 60}\n")
            assert run.status == "completed"


def test_each_kind_of_bad_certificate_is_distinguished(authority: Authority, tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    past = ("-not_before", "20200101000000Z", "-not_after", "20200201000000Z")
    with_dates = "-not_after" in subprocess.run(["openssl", "x509", "-help"], capture_output=True, text=True, timeout=60).stderr
    cases = [
        (Authority(other, "Other Root").issue("a"), "is issued by `Other Root`", "root certificate of `Other Root`"),
        (authority.own("quick"), "is self-signed (`own`)", "give that certificate"),
        (authority.issue("elsewhere", "DNS:hub.example"), "is for `hub.example` and not for `localhost`", "one of its names"),
        (authority.issue("nameless", ""), "names no host", "subjectAltName=DNS:localhost"),
        (authority.issue("over", "DNS:localhost", *(past if with_dates else ("-days", "-1"))), "expired at 20", "renew it"),
    ]
    for certificate, told, advice in cases:
        with front(certificate, None) as url, Client(url, ca=str(authority.ca), max_retries=1, timeout=5) as client:
            with pytest.raises(GleitzeitError) as raised:
                client.get(RUN)
        error = raised.value
        assert (error.name, error.code, error.unreachable) == ("CERTIFICATE_NOT_TRUSTED", -25008, True), str(error)
        assert told in error.message and url in error.message and "`localhost`" in error.message, str(error)
        assert advice in error.hint and not error.is_worth_repeating, str(error)


def test_a_server_without_tls_and_a_proxy_without_http2_are_named(plane: Plane, authority: Authority) -> None:
    with Client(f"https://localhost:{plane.port}", max_retries=0, timeout=5) as client:
        with pytest.raises(GleitzeitError, match="is not a port for TLS") as raised:
            client.get(RUN)
    assert raised.value.name == "NOT_A_CONTROL_PLANE" and "write `http://`" in raised.value.hint
    with front(authority.issue("old"), plane.port, ("http/1.1",)) as url:
        with Client(url, ca=str(authority.ca), max_retries=0, timeout=5) as client:
            with pytest.raises(GleitzeitError, match="speaks HTTP/1 only") as raised:
                client.get(RUN)
    assert "listen … ssl http2" in raised.value.hint


@pytest.mark.parametrize(
    "reason, lacks",
    [
        ("Cannot check peer: missing selected ALPN property.", "http2"),
        ("SSL routines:OPENSSL_internal:TLSV1_ALERT_NO_APPLICATION_PROTOCOL: Invalid", "http2"),
        ("Received http2 header with status: 400", "grpc"),
        ("Received http2 header with status: 502", ""),
    ],
)
def test_what_a_proxy_lacks_is_derived_from_the_message_of_grpc(
    plane: Plane, authority: Authority, reason: str, lacks: str
) -> None:
    with front(authority.issue("lacks"), plane.port) as url:
        found = _reach.look(url, "gRPC", reason, str(authority.ca))
    assert (found.kind, found.lacks) == ("control_plane", lacks)


def test_unusable_roots_are_reported_with_their_place(tmp_path: pathlib.Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for given, told in ((tmp_path / "none.pem", "cannot be read"), (empty, "holds no certificate"), (tmp_path, "no regular file")):
        with pytest.raises(GleitzeitError, match=told) as raised:
            Client("https://localhost:1", ca=str(given))
        assert str(given) in raised.value.message and "GLEITZEIT_CA" in raised.value.message
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        with pytest.raises(GleitzeitError, match=name):
            _tls.roots(None, {name: str(tmp_path / "none")})
    with Client("http://localhost:1", ca=str(empty)) as client:
        assert client.settings.ca == str(empty), "without TLS it is not read"


def test_a_broken_root_is_reported_with_its_file_and_skipped_beside_a_good_one(
    authority: Authority, tmp_path: pathlib.Path
) -> None:
    good, file = authority.ca.read_bytes(), tmp_path / "roots.pem"
    lines = good.splitlines(keepends=True)
    cut = b"".join((lines[0], lines[1][:-2] + b"\n", *lines[2:]))
    stray = good.replace(lines[1], b"\xff" + lines[1])
    empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for broken in (cut, stray, empty):
        file.write_bytes(broken)
        with pytest.raises(GleitzeitError, match="holds no certificate that can be read: write the file anew") as raised:
            Client("https://localhost:1", ca=str(file))
        assert str(file) in raised.value.message and "GLEITZEIT_CA" in raised.value.message
        with pytest.raises(GleitzeitError, match="SSL_CERT_FILE"):
            _tls.context(None, {"SSL_CERT_FILE": str(file)})
        _tls._roots.cache_clear()
        file.write_bytes(broken + good)
        assert _tls.context(str(file)).get_ca_certs()
        assert ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(good.decode())).encode() in _tls.roots(str(file))
        _tls._roots.cache_clear()


def test_a_broken_certificate_is_ignored(authority: Authority) -> None:
    der = ssl.PEM_cert_to_DER_cert(authority.ca.read_text())
    read = _x509.read(der)
    assert read is not None and (read.issuer, read.is_own) == ("Lab Root", True)
    for end in range(len(der)):
        _x509.read(der[:end])
    for at in range(len(der)):
        for value in (0, 0x7F, 0x80, 0xFF):
            _x509.read(der[:at] + bytes([value]) + der[at + 1 :])


def test_a_host_in_a_certificate_is_shown_without_terminal_controls() -> None:
    def field(kind: int, content: bytes) -> bytes:
        return bytes([kind, len(content)]) + content

    names = field(0x30, field(0x82, b"a\x1b[2J" + b"b" * 105))
    whole = field(0x30, field(0x30, field(0x06, b"\x55\x1d\x11") + field(0x04, names)))
    assert list(_x509._names(whole)) == ["a\\u{1b}[2J" + "b" * 95]


def test_probing_over_tls_is_limited_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reach, "LIMIT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url, begun = f"https://127.0.0.1:{silent.getsockname()[1]}", time.monotonic()
        assert _reach.look(url, "gRPC", "").kind in ("no_handshake", "no_answer")
    assert time.monotonic() - begun < 1.8
