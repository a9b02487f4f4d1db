"""The token that a control plane of the same user keeps on this machine.

A control plane that was given no token makes one of its own, in a file that only its user can read, and holds a shared
lock on that file for as long as it lives. Where an exclusive lock can be had no control plane of this user listens:
whatever listens at the port is another user's, and is not shown the token.
"""

from __future__ import annotations

import ipaddress
import os
import pathlib
import stat
import urllib.parse
from typing import Optional

try:
    import fcntl
except ImportError:  # no POSIX: control planes of the same machine do not run there
    fcntl = None  # type: ignore[assignment]

#: A longer token is none of ours.
MAX_BYTES = 4_096


def kept(url: str) -> Optional[str]:
    """The token of the control plane that lives at this address of this machine, if it is this user's."""
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
            return os.read(number, MAX_BYTES).decode("ascii", "replace").strip() or None
        return None
    except OSError:
        return None
    finally:
        os.close(number)


def _file(url: str) -> Optional[pathlib.Path]:
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            return None
    except ValueError:
        return None
    # Without HOME, as in some services, the home that the system knows of this user.
    state, home = os.environ.get("XDG_STATE_HOME", ""), os.path.expanduser("~")
    if os.path.isabs(state):
        folder = pathlib.Path(state)
    elif os.path.isabs(home):
        folder = pathlib.Path(home) / ".local" / "state"
    else:
        return None
    return folder / "gleitzeit" / f"token-{port}"
