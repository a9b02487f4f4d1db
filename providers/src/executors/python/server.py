# The fork server: one process for each executor, and under it one lane for each call that runs at a time. A lane is
# the first process of a process namespace and forks one worker for each call, ahead of time. When the worker ends,
# the lane kills and reaps all that is left in its namespace, so that nothing outlives a call; when a lane dies, the
# kernel does the same. A lane dies with the server, and the server when the agent closes or loses its socket.
#
# Neither ever runs code of a task, so what a worker is forked from is always clean.
import gc
import json
import linecache
import os
import random
import re
import resource
import select
import signal
import socket
import sys
import time
import traceback

_MOST_FDS = 3
_DEAD_SECONDS = 1.0


def receive(sock):
    """One byte and the file handles that travel with it; nothing at the end."""
    try:
        data, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(_MOST_FDS * 4))
    except OSError:
        return b"", []
    fds = []
    for level, kind, body in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.extend(int.from_bytes(body[at:at + 4], sys.byteorder) for at in range(0, len(body) - len(body) % 4, 4))
    return data, fds


class Namespaces:
    """Forks lanes into process namespaces of their own; `kind` says with whose rights: `root`, `user` or `none`."""

    def __init__(self, wanted):
        self.kind, self.reason, self._own = "none", "switched off", None
        for kind in ("root", "user"):
            if wanted in ("auto", kind):
                self.reason = self._try(kind)
                if self.reason is None:
                    self._enter(kind)
                    self.kind = kind
                    return

    def _try(self, kind):
        """In a child, for part of it cannot be taken back."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(0)
            try:
                self._enter(kind)
                first = self.fork()
                if first == 0:
                    os._exit(0 if os.getpid() == 1 else 1)
                if os.waitpid(first, 0)[1] == 0:
                    os.write(theirs, b"+")
                else:
                    os.write(theirs, b"the namespace is not ours")
            except Exception as error:
                os.write(theirs, str(error).encode("utf-8", "replace")[:500])
            os._exit(0)
        os.close(theirs)
        said = os.read(ours, 1000)
        os.close(ours)
        os.waitpid(pid, 0)
        return None if said == b"+" else said.decode("utf-8", "replace") or "no answer"

    def _enter(self, kind):
        if kind == "user":
            self._own_user_namespace()
        self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def _own_user_namespace(self):
        """With the same user and group, and with a process namespace that belongs to it, so that it may be left."""
        uid, gid = os.geteuid(), os.getegid()
        unshare(NEW_USER | NEW_PID)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        conceal()
        pid = os.fork()
        if pid:
            # The server proper is the child; this one only lives and dies with it.
            try:
                os.close(0)
            except OSError:
                pass
            os._exit(1 if os.waitpid(pid, 0)[1] else 0)
        die_with_parent(signal.SIGKILL)

    def fork(self):
        if self._own is None:
            return os.fork()
        unshare(NEW_PID)
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid != 0:
                setns(self._own, NEW_PID)
        return pid


def attempt(what):
    """In a child, for it cannot be taken back; why it is not possible, if it is not."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            what()
            os.write(theirs, b"+")
        except Exception as error:
            os.write(theirs, str(error).encode("utf-8", "replace")[:500])
        os._exit(0)
    os.close(theirs)
    said = os.read(ours, 1000)
    os.close(ours)
    os.waitpid(pid, 0)
    return None if said == b"+" else said.decode("utf-8", "replace") or "no answer"


class Lane:
    """One call after the other, each in a worker of its own."""

    def __init__(self, sock, lifeline, namespaces, config, strict):
        self.sock, self.contained, self.config, self.strict = sock, namespaces.kind != "none", config, strict
        for number in (signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        if self.contained:
            die_with_parent(signal.SIGKILL)
            limit_process_numbers(config["max_processes"])
        else:
            # Nobody kills the family for us if we are killed, so we are asked.
            signal.signal(signal.SIGTERM, self._leave)
            die_with_parent(signal.SIGTERM)
            adopt_orphans()
        if select.select([lifeline], [], [], 0)[0]:  # the server died before it could be noticed
            os._exit(1)
        os.close(lifeline)

    def _leave(self, *_):
        self._end_family(time.monotonic() + _DEAD_SECONDS)
        os._exit(1)

    def serve(self):
        while True:
            data, fds = receive(self.sock)
            if not data or len(fds) != _MOST_FDS:
                self._leave()
            try:
                worker = os.fork()
            except OSError:
                self._leave()
            if worker == 0:
                self.sock.close()
                work(*fds, self.config, self.contained, self.strict)
                os._exit(1)
            for fd in fds:
                os.close(fd)
            pid, status = os.waitpid(-1, 0)
            while pid != worker:
                pid, status = os.waitpid(-1, 0)
            self._end_family(None)
            self.sock.sendall(b"E" + status.to_bytes(4, "big"))

    def _end_family(self, deadline):
        """Kills and reaps until nobody is left."""
        while True:
            if self.contained:
                try:
                    os.kill(-1, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            else:
                kill_descendants()
            try:
                while True:
                    if os.waitpid(-1, 0 if self.contained else os.WNOHANG)[0] == 0:
                        break
            except ChildProcessError:
                return
            if deadline is not None and time.monotonic() > deadline:
                return
            time.sleep(0.001)


def prove(strict, namespaces, folder):
    """Tries from inside what must not work: a sandbox that is only believed in is none."""
    ours, theirs = os.pipe()
    pid = namespaces.fork()
    if pid == 0:
        try:
            rules = strict.prepare()
            strict.enter(rules, folder)
            found = breaches(folder)
        except Exception as error:
            found = str(error)
        os.write(theirs, (found or "+").encode("utf-8", "replace")[:1000])
        os._exit(0)
    os.close(theirs)
    said = os.read(ours, 1000)
    os.close(ours)
    os.waitpid(pid, 0)
    if said != b"+":
        raise OSError(said.decode("utf-8", "replace") or "the proof ended early")


def breaches(folder):
    """What could be done all the same, or could not although it should; empty if all is as it must be."""
    def works(what):
        try:
            what()
            return True
        except OSError:
            return False

    own = os.path.join(folder, "own")
    with open(own, "w") as file:
        file.write("own")
    os.remove(own)
    for what, name in (
        (lambda: os.listdir("/"), "the root folder can be read"),
        (lambda: open("/proc/self/status").close(), "/proc can be read"),
        (lambda: open(os.path.join(folder, "..", "other"), "w").close(), "files can be written elsewhere"),
        (lambda: os.chmod(os.path.join(folder, ".."), 0o700), "modes can be changed elsewhere"),
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(), "sockets can be opened"),
        (lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close(), "local sockets can be opened"),
    ):
        if works(what):
            return name
    return ""


def limit_process_numbers(most):
    """The kernel's own bound (for root) on what a namespace holds; numbers below 300 are given out once."""
    try:
        release = tuple(int(part) for part in re.match(r"(\d+)\.(\d+)", os.uname().release).groups())
    except (AttributeError, ValueError):
        return
    # Before Linux 6.14 it is the whole machine's.
    if release < (6, 14):
        return
    try:
        with open("/proc/sys/kernel/pid_max", "r+") as file:
            file.write(str(300 + 4 * most))
    except OSError:
        pass


def kill_descendants():
    """Where there is no namespace: stops them first, so that none can fork away from the search, then kills them."""
    me, stopped = os.getpid(), set()
    while True:
        parents = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        parents[int(name)] = int(file.read().rsplit(b")", 1)[1].split()[1])
                except (OSError, IndexError, ValueError):
                    pass
        family, size = {me}, 0
        while len(family) != size:
            size = len(family)
            family.update(pid for pid, parent in parents.items() if parent in family)
        found = family - stopped - {me}
        if not found:
            break
        for pid in found:
            signal_if_there(pid, signal.SIGSTOP)
        stopped |= found
    for pid in stopped:
        signal_if_there(pid, signal.SIGKILL)


def signal_if_there(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        pass


def take(count):
    data = b""
    while len(data) < count:
        part = os.read(0, count - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def tell(said):
    body = whole(said)
    data = len(body).to_bytes(4, "big") + body
    while data:
        data = data[os.write(0, data):]


def close_inherited():
    try:
        inherited = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        inherited = range(3, 1024)
    for fd in inherited:
        if fd > 2:
            try:
                os.close(fd)
            except OSError:
                pass


def warm_up(config):
    """Walks a worker's path, so that each worker finds it trodden: memory it need not copy, modules it need not load."""
    main = sys.modules["__main__"]
    request = {"code": "result = 1", "name": "<code>", "path": None, "args": [], "context": {}}
    for _ in range(20):
        whole(execute(json.loads(json.dumps(request)), config)[1])
    sys.modules["__main__"] = main


def serve():
    sys.path[:] = [entry for entry in sys.path if entry]  # the working folder must not shadow modules
    sys.argv[:] = ["<code>"]
    close_inherited()
    # As standard error has it: what is no Unicode must not end the code that prints it.
    # By lines, so that whoever watches sees what is printed when it is.
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = json.loads(take(int.from_bytes(take(4), "big")))
    strict = None
    try:
        namespaces = Namespaces(config["namespaces"])
        # Neither it nor its lanes may be written to by the code of a task, which runs as the same user.
        conceal()
        if config["strict"]:
            if namespaces.kind == "none":
                raise OSError(f"no process namespace can be made ({namespaces.reason})")
            strict = Strict(config["filter"])
            prove(strict, namespaces, config["proof"])
    except OSError as error:
        tell({"error": f"`sandbox: strict` is not possible here: {error}" if config["strict"] else str(error)})
        os._exit(1)
    shared_mounts = None
    # With other rights code can mount nothing; under strict neither.
    config["own_mounts"] = False
    if namespaces.kind == "root" and not config["strict"]:
        shared_mounts = attempt(own_mounts)
        config["own_mounts"] = shared_mounts is None
    # Closed by the kernel when this process dies, however it does; nobody writes to it.
    lifeline, _held = os.pipe()
    control = socket.socket(fileno=0)
    null = os.open(os.devnull, os.O_RDWR)
    tell({"namespaces": namespaces.kind, "reason": namespaces.reason, "shared_mounts": shared_mounts})
    os.dup2(null, 2)
    os.close(null)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended lanes are nobody's business
    warm_up(config)
    gc.disable()
    gc.collect()
    gc.freeze()
    while True:
        data, fds = receive(control)
        if not data or len(fds) != 1:
            os._exit(0)
        sock = socket.socket(fileno=fds[0])
        try:
            pid = namespaces.fork()
        except OSError:  # no memory or no process number: the call that asked hears it from its closed socket
            sock.close()
            continue
        if pid == 0:
            os.close(_held)
            control.detach()
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.close(null)
            lane = Lane(sock, lifeline, namespaces, config, strict)
            lane.serve()
        try:
            pidfd = pidfd_open(pid)
            sock.sendmsg([b"P"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, pidfd.to_bytes(4, sys.byteorder))])
            os.close(pidfd)
        except OSError:
            signal_if_there(pid, signal.SIGKILL)
        sock.close()
