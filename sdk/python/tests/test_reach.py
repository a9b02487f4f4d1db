"""If there is no control plane at an address, the error says what is there instead, and what to do."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import pathlib
import signal
import socket
import threading
import time
from typing import Any, Iterator

import grpc
import pytest
from conftest import Plane, running, until

from gleitzeit import AsyncClient, Client, GleitzeitError, _reach, errors
from gleitzeit._reach import Found

RUN = "01930000-0000-7000-8000-000000000001"
URL = "http://hub.example:8000"
HTTP = b"HTTP/1.1 404 Not Found\r\nserver: stranger/1\r\ncontent-length: 5\r\nconnection: close\r\n\r\nno\r\n\n"
GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nserver: proxy/1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TLS = bytes([0x15, 3, 1, 0, 2, 2, 70])
# An empty SETTINGS frame, and GOAWAY.
HTTP2 = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
#: The answer of a server, the code of the error, a part of its message, and a part of its hint.
OTHER_SERVERS = [
    (HTTP, "NOT_A_CONTROL_PLANE", "another HTTP server answers there (status 404, server `stranger/1`)", "another program"),
    (b"SSH-2.0-OpenSSH_9.6\r\n", "NOT_A_CONTROL_PLANE", "its answer is `SSH-2.0-OpenSSH_9.6`", "GLEITZEIT_HUB_URL"),
    (TLS, "NOT_A_CONTROL_PLANE", "is a port for TLS (https)", "write `https://`"),
    (HTTP2, "NOT_A_CONTROL_PLANE", "speaks HTTP/2 only", "another program"),
    (GATEWAY, "NETWORK_UNREACHABLE", "a proxy that cannot reach its control plane: it answers 502", "the proxy's log"),
    (b"", "CONNECTION_LOST", "closes them without an answer", "ss -ltnp"),
]
ONE = "from gleitzeit import provider\nprovider.method('lab/one')(lambda: 1)\nprovider.serve()\n"
IDS = ["http", "ssh", "tls", "http2", "gateway", "closing"]


@contextlib.contextmanager
def other_server(answer: bytes, port: int = 0) -> Iterator[str]:
    """A server that sends this answer to every client."""
    listener = socket.create_server(("127.0.0.1", port))
    taken = listener.getsockname()[1]

    def serve() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            with stream, contextlib.suppress(OSError):
                stream.settimeout(5)
                if not answer.startswith(b"SSH"):
                    stream.recv(4096)
                stream.sendall(answer)
                stream.shutdown(socket.SHUT_WR)
                while stream.recv(4096):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{taken}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)


def free_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(("answer", "name", "told", "advice"), OTHER_SERVERS, ids=IDS)
def test_clients_report_what_is_there_instead(answer: bytes, name: str, told: str, advice: str) -> None:
    async def same(url: str) -> GleitzeitError:
        async with AsyncClient(url, max_retries=1, timeout=3) as client:
            with pytest.raises(GleitzeitError) as raised:
                await client.get(RUN)
        return raised.value

    with other_server(answer) as url:
        begun = time.monotonic()
        with Client(url, max_retries=1, timeout=3) as client, pytest.raises(GleitzeitError) as raised:
            client.get(RUN)
        for error in (raised.value, asyncio.run(same(url))):
            assert (error.name, error.code, error.unreachable) == (name, _reach.CODES[name], True)
            assert told in error.message and url in error.message and advice in error.hint, str(error)
            assert f"hint: {error.hint}" in str(error)
        assert time.monotonic() - begun < 20


def test_another_grpc_server_is_not_mistaken_for_a_control_plane() -> None:
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"127.0.0.1:{port}") as client, pytest.raises(GleitzeitError, match="does not support this call") as raised:
            client.get(RUN)
        assert f"127.0.0.1:{port}" in raised.value.message and "another server" in raised.value.hint
        assert raised.value.name == "METHOD_NOT_SUPPORTED" and not raised.value.is_worth_repeating
    finally:
        server.stop(None).wait(60)


def test_waiting_ends_at_once_if_the_cause_is_permanent() -> None:
    with other_server(HTTP) as url, Client(url, patience=600, max_retries=1000) as client:
        begun = time.monotonic()
        with pytest.raises(GleitzeitError, match="is not a control plane"):
            client.wait(RUN)
        with pytest.raises(GleitzeitError, match="is not a control plane"):
            list(client.watch(RUN))
        assert time.monotonic() - begun < 20


def test_a_closed_port_and_an_unknown_host_are_distinguished() -> None:
    with Client(free_url(), max_retries=0) as client, pytest.raises(GleitzeitError, match="nothing listens") as nobody:
        client.get(RUN)
    assert nobody.value.name == "CONNECTION_REFUSED" and "gleitzeit start" in nobody.value.hint
    # A label of 64 characters cannot be one: no name server is asked.
    with Client("x" * 64 + ":8000", max_retries=9) as client, pytest.raises(GleitzeitError, match="no address is known") as none:
        client.get(RUN)
    assert none.value.name == "NETWORK_UNREACHABLE" and "DNS" in none.value.hint


def test_a_control_plane_is_recognized(plane: Plane) -> None:
    assert _reach.probe(plane.url) == Found("control_plane")
    late = GleitzeitError("it took long", code=-25003, name="CONNECTION_TIMEOUT", unreachable=True, lasting=True)
    assert _reach.explained(late, plane.url, was_reached=False) is late


def test_local_addresses_are_reached_without_the_proxy(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", free_url())
    with Client(plane.url, max_retries=0) as client, pytest.raises(GleitzeitError) as unknown:
        client.get(RUN)
    assert unknown.value.name == "WORKFLOW_NOT_FOUND"


def test_a_missing_token_and_a_wrong_one_are_distinguished(tmp_path: pathlib.Path) -> None:
    plane = Plane(tmp_path, "--token", "right")
    try:
        for token, told in ((None, "the token is missing"), ("wrong", "the token is wrong")):
            with Client(plane.url, token=token) as client, pytest.raises(GleitzeitError, match=told) as refused:
                client.get(RUN)
            assert refused.value.name == "AUTHENTICATION_FAILED" and "GLEITZEIT_TOKEN" in refused.value.message
    finally:
        plane.stop()


def test_a_server_is_identified_by_the_start_of_its_answer() -> None:
    ours = "nothing is served here; gRPC, Socket.IO, /healthz, /readyz and /metrics are\n"
    refusal = "AUTHORIZATION_FAILED: this control plane is not called x\n"
    for answer, ended, found in (
        (b"", True, Found("closed")),
        (b"", False, Found("silent")),
        (b"\0\x1b[2Jx", False, Found("other", "\\u{0}\\u{1b}[2Jx")),
        (b"HTTP/1.0", True, Found("http")),
        (b"HTTP/1.1 400 Bad\r\n\r\nThe plain HTTP request was sent to HTTPS port", True, Found("tls")),
        (f"HTTP/1.1 404 Not Found\r\n\r\n{ours}".encode(), True, Found("control_plane")),
        (f"HTTP/1.1 404 Not Found\r\nServer: nginx/1\r\n\r\n{ours}".encode(), True, Found("control_plane", name="nginx/1")),
        (f"HTTP/1.1 404 Not Found\r\n\r\n4b\r\n{ours}\r\n0\r\n".encode(), True, Found("control_plane")),
        (
            f"HTTP/1.1 403 Forbidden\r\n\r\n{refusal}".encode(),
            True,
            Found("refusal", "this control plane is not called x", name="AUTHORIZATION_FAILED"),
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\nAUTHORIZATION_FAILED: \x1b[2Jgone", True, Found("refusal", "\\u{1b}[2Jgone", name="AUTHORIZATION_FAILED")),
    ):
        assert _reach.of_answer(answer, ended) == found


@pytest.mark.parametrize(
    ("url", "found", "speech", "environment", "told", "advice"),
    [
        (URL, Found("no_answer"), "gRPC", {}, "does not answer (why)", "firewalls"),
        (URL, Found("no_answer"), "gRPC", {"http_proxy": "http://u:p@p:1"}, "", "the proxy of http_proxy: set no_grpc_proxy=hub.example"),
        (URL, Found("no_answer"), "WebSocket", {"ALL_PROXY": "p"}, "", "ALL_PROXY is set, but providers reach"),
        ("https://hub.example", Found("no_answer"), "WebSocket", {"http_proxy": "p", "HTTPS_PROXY": "p"}, "", "HTTPS_PROXY is set, but"),
        (URL, Found("no_answer"), "WebSocket", {"https_proxy": "p", "HTTP_PROXY": "p"}, "", "HTTP_PROXY is set, but"),
        (URL, Found("control_plane"), "WebSocket", {}, "WebSocket does not get through: why", "must support WebSockets"),
        ("http://localhost:4317", Found("http2"), "gRPC", {}, "HTTP/2 only", "OpenTelemetry collectors"),
        ("https://hub.example", Found("not_tls"), "gRPC", {}, "is not a port for TLS", "write `http://`"),
        ("https://hub.example", Found("no_handshake", "odd"), "gRPC", {}, "the handshake fails: odd", "TLS 1.2"),
        ("https://hub.example", Found("untrusted", "it expired", hint="renew it"), "gRPC", {}, "it expired", "renew it"),
        ("https://hub.example", Found("wants_certificate"), "gRPC", {}, "requires a client certificate", "ssl_verify_client"),
        ("https://hub.example", Found("unknown_host"), "gRPC", {}, "does not serve the host name `hub.example`", "server_name"),
        (URL, Found("control_plane", "not so", lacks="refused"), "gRPC", {}, "refuses: not so", "grpc_set_header"),
        (URL, Found("control_plane", name="nginx/1", lacks="http2"), "gRPC", {}, "(`nginx/1`) speaks HTTP/1 only", "use `https://`"),
        (URL, Found("control_plane", lacks="grpc"), "gRPC", {}, "the proxy in front of it forwards calls over HTTP/1", "grpc_pass"),
        (URL, Found("control_plane", lacks="upgrade"), "WebSocket", {}, "does not forward WebSocket upgrades", "Upgrade $http_upgrade"),
    ],
)
def test_each_cause_has_its_advice(
    url: str, found: Found, speech: str, environment: dict[str, str], told: str, advice: str
) -> None:
    cause = _reach.cause(url, found, "why", speech, environment)
    assert url in cause.message and told in cause.message and advice in cause.hint, cause
    assert "\n" not in cause.message + cause.hint and "u:p" not in cause.hint


def test_a_proxy_is_only_named_if_the_host_cannot_be_reached() -> None:
    proxies: Any = {"http_proxy": "p", "no_proxy": "other, .example"}
    for found in (Found("tls"), Found("http", status=404)):
        assert "proxy of" not in _reach.cause(URL, found, "why", "gRPC", {"http_proxy": "p"}).hint
    assert "proxy of" not in _reach.cause(URL, Found("no_answer"), "why", "gRPC", proxies).hint


def test_probing_is_limited_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        assert _reach.probe(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2) == Found("silent")
        assert time.monotonic() - begun < 5


def test_a_provider_reports_another_server_and_serves_once_a_control_plane_starts(tmp_path: pathlib.Path) -> None:
    plane = Plane(tmp_path)
    plane.stop()
    with contextlib.ExitStack() as stack:
        with other_server(HTTP, plane.port) as url:
            said = stack.enter_context(running(plane, ONE, tmp_path)).said
            until("it says what is there", lambda: any(f"{url} is not a control plane" in line for line in said))
            line = next(line for line in said if url in line)
            assert "another HTTP server answers there" in line and "--port PORT" in line and "trying again" in line
        plane.start()
        stack.callback(plane.stop)
        until("it serves", lambda: any(f"serving lab/one at {url}" in line for line in said))
        assert sum("another HTTP server" in line for line in said) == 1, said


def test_a_provider_names_the_token_that_is_refused(tmp_path: pathlib.Path) -> None:
    plane = Plane(tmp_path, "--token", "right")
    try:
        for token, told in (("", "the token is missing"), ("wrong", "the token is wrong")):
            with running(plane, ONE, tmp_path, GLEITZEIT_TOKEN=token) as program:
                said = program.said
                until(f"it says `{told}`", lambda: any(told in line for line in said))
                line = next(line for line in said if told in line)
                assert plane.url in line and "GLEITZEIT_TOKEN" in line and "trying again" in line
                program.process.send_signal(signal.SIGINT)
                assert program.process.wait(60) == 0
            assert not any("Traceback" in line for line in said), said
        with running(plane, ONE, tmp_path, GLEITZEIT_TOKEN="right") as program:
            until("it serves", lambda: any("serving lab/one" in line for line in program.said))
    finally:
        plane.stop()


class _Refused(grpc.RpcError):  # type: ignore[misc]
    """The error that gRPC raises for an answer that is plain HTTP."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.PERMISSION_DENIED

    def details(self) -> str:
        return "Received http2 header with status: 403"

    def trailing_metadata(self) -> tuple[()]:
        return ()


def test_an_answer_that_is_not_grpc_is_examined() -> None:
    error = errors.from_rpc(_Refused(), URL)
    assert (error.name, error.unreachable) == ("CONNECTION_LOST", True) and "403" in error._reason
