"""The token of the user's own control plane is found without being given."""

from __future__ import annotations

import pathlib

import pytest

from conftest import Plane
from gleitzeit import Client, GleitzeitError


def test_the_token_of_this_users_own_control_plane_is_found(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = Plane(tmp_path, "--slots", "8")
    try:
        monkeypatch.delenv("GLEITZEIT_TOKEN", raising=False)
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
        with Client(plane.url) as stranger, pytest.raises(GleitzeitError) as refused:
            list(stranger.list(limit=1))
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
