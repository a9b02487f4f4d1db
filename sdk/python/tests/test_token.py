"""The token of the user's own control plane is found without being given."""

from __future__ import annotations

import pathlib
from typing import Optional

import pytest

from conftest import Plane
from gleitzeit import AsyncClient, Client, GleitzeitError, _token


def test_the_token_of_this_users_own_control_plane_is_found(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = Plane(tmp_path, "--slots", "8")
    try:
        monkeypatch.delenv("GLEITZEIT_TOKEN", raising=False)
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
        with Client(plane.url) as other, pytest.raises(GleitzeitError) as refused:
            list(other.list(limit=1))
        assert refused.value.name == "AUTHENTICATION_FAILED"
        monkeypatch.setenv("HOME", str(tmp_path))
        with Client(plane.url) as own:
            assert list(own.list(limit=1)) == []
        kept = tmp_path / ".local/state/gleitzeit" / f"token-{plane.port}"
        kept.chmod(0o644)
        with Client(plane.url) as careless, pytest.raises(GleitzeitError):
            list(careless.list(limit=1))
        kept.chmod(0o600)
    finally:
        plane.stop()
    with pytest.raises(GleitzeitError):
        list(Client(plane.url, max_retries=0).list(limit=1))


def test_a_token_in_a_file_is_read_again_when_it_changes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("GLEITZEIT_TOKEN", raising=False)
    asked, shown = tmp_path / "asked", tmp_path / "shown"
    asked.write_text("first\n")
    shown.write_text("first")
    plane = Plane(tmp_path, "--token-file", str(asked))
    try:
        with Client(plane.url, token_file=shown) as client:
            assert list(client.list(limit=1)) == []
            asked.write_text("second\n")
            with pytest.raises(GleitzeitError) as refused:
                list(client.list(limit=1))
            assert refused.value.name == "AUTHENTICATION_FAILED"
            shown.unlink()
            shown.write_text("second")
            assert list(client.list(limit=1)) == []
        monkeypatch.setenv("GLEITZEIT_TOKEN_FILE", str(shown))
        with Client(plane.url) as named:
            assert list(named.list(limit=1)) == []
    finally:
        plane.stop()


@pytest.mark.parametrize(
    "content, why",
    [
        (None, "No such file"),
        ("", "it holds none"),
        ("x" * 5_000, "longer than 4096 bytes"),
        ("one\ntwo\n", "more than one line"),
        ("\ufeffone", "characters that are not allowed in a token"),
        ("o\x1bne", "characters that are not allowed in a token"),
    ],
)
def test_a_file_without_a_token_is_refused(tmp_path: pathlib.Path, content: Optional[str], why: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(GleitzeitError, match=why) as refused:
        Client("http://127.0.0.1:1", token_file=file)
    assert str(file) in str(refused.value)
    with pytest.raises(GleitzeitError, match="say the same"):
        Client("http://127.0.0.1:1", token="t", token_file=file)


@pytest.mark.parametrize("token", ["one\ntwo", "one\n", "\ufeffone", "t\u00f6ken"])
def test_a_token_with_invalid_characters_is_refused(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(GleitzeitError, match="more than one line, or characters that are not allowed in a token") as refused:
            client("http://127.0.0.1:1", token=token)
        assert token not in str(refused.value)
    monkeypatch.setenv("GLEITZEIT_TOKEN", token)
    with pytest.raises(GleitzeitError, match="GLEITZEIT_TOKEN"):
        Client("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "url, port", [("http://localhost", 80), ("https://localhost", 443), ("https://[::1]:8443", 8443), ("https://hub.example", None)]
)
def test_a_token_is_searched_by_the_port_of_the_address(
    monkeypatch: pytest.MonkeyPatch, url: str, port: Optional[int]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    expected = pathlib.Path(f"/state/gleitzeit/token-{port}") if port else None
    assert _token._file(url) == expected


def test_a_token_that_cannot_be_read_again_is_reported_once_each_time(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    secret = _token.SecretFile(file)
    assert secret.current() == "first" and not caplog.messages
    file.unlink()
    assert [secret.current() for _ in range(3)] == ["first"] * 3
    assert len(caplog.messages) == 1 and f"cannot use the token in `{file}`: No such file" in caplog.messages[0]
    assert caplog.messages[0].endswith("; the last one stays") and caplog.records[0].levelname == "WARNING"
    file.write_text("second")
    assert secret.current() == "second" and len(caplog.messages) == 1
    file.write_text("alpha\nbeta")
    assert [secret.current() for _ in range(2)] == ["second"] * 2 and len(caplog.messages) == 2
    assert "alpha" not in caplog.text
