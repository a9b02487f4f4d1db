"""The token sent to a control plane: one in a file, or the one that it stores for its user on this machine.

A control plane that was given no token generates one, in a file that only its user can read, and holds a shared lock
on that file for as long as it runs. If an exclusive lock is available, no control plane of this user is listening:
whatever listens at the port belongs to another user, and is not sent the token.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import pathlib
import stat
import urllib.parse
from typing import Callable, Optional, Union

try:
    import fcntl
except ImportError:  # no POSIX: control planes of the same machine do not run there
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("gleitzeit")

#: The most bytes of a token; a longer text is not one.
MAX_BYTES = 4_096


class SecretFile:
    """A file that holds only a token, as systemd and Kubernetes hand out secrets. It may change."""

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self.path = os.fspath(path)
        self._token = self._read()
        self._is_told = False

    def __repr__(self) -> str:
        return f"SecretFile({self.path!r})"

    def current(self) -> str:
        """The current token, or the last one while the file cannot be read: it may be replaced by removing it first."""
        try:
            self._token, self._is_told = self._read(), False
        except ValueError as problem:
            if not self._is_told:
                log.warning("%s; the last one stays", problem)
            self._is_told = True
        return self._token

    def _read(self) -> str:
        try:
            # Opening a pipe would block, and it could not be read again.
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise ValueError(f"cannot use the token in `{self.path}`: it is no regular file")
            with open(self.path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise ValueError(f"cannot use the token in `{self.path}`: it is longer than {MAX_BYTES} bytes")
            token = content.decode("utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot use the token in `{self.path}`: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ValueError(f"cannot use the token in `{self.path}`: it is not text") from None
        if not token:
            raise ValueError(f"cannot use the token in `{self.path}`: it holds none")
        if not _is_token(token):
            raise ValueError(f"cannot use the token in `{self.path}`: it holds {_MORE}")
        return token


_MORE = "more than one line, or characters that are not allowed in a token"


def _is_token(text: str) -> bool:
    """Whether a header can carry the token: only visible ASCII characters."""
    return all("!" <= character <= "~" for character in text)


#: Returns the token whenever one is needed; ``None`` if there is none.
Source = Callable[[], Optional[str]]


def source(token: Optional[str], file: Union[None, str, os.PathLike[str]], url: str) -> Source:
    """Where the token comes from: given, in a file, named by the environment, or kept by a control plane at ``url``.

    Raises ``ValueError`` if the token, or a file that is named, cannot be used.
    """
    if token and file:
        raise ValueError("`token` and `token_file` say the same; give one of them")
    if file is None and not token:
        token = os.environ.get("GLEITZEIT_TOKEN")
        if not token:
            file = os.environ.get("GLEITZEIT_TOKEN_FILE") or None
    if token:
        if not _is_token(token):
            raise ValueError(f"cannot use the token of `token` or GLEITZEIT_TOKEN: it holds {_MORE}")
        return lambda: token
    if file is not None:
        return SecretFile(file).current
    return lambda: kept(url)


def kept(url: str) -> Optional[str]:
    """The token of the control plane that runs at this address of this machine, if it belongs to this user."""
    path = _file(url)
    if path is None or fcntl is None:
        return None
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            return None
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            token = os.read(number, MAX_BYTES).decode("ascii", "replace").strip()
            return token if token and _is_token(token) else None
        return None
    except OSError:
        return None
    finally:
        os.close(number)


def _file(url: str) -> Optional[pathlib.Path]:
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            return None
    except ValueError:
        return None
    # Without HOME, as in some services, the home directory from the user database.
    state, home = os.environ.get("XDG_STATE_HOME", ""), os.path.expanduser("~")
    if os.path.isabs(state):
        folder = pathlib.Path(state)
    elif os.path.isabs(home):
        folder = pathlib.Path(home) / ".local" / "state"
    else:
        return None
    return folder / "gleitzeit" / f"token-{port}"
