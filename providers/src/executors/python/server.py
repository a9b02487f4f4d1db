# The fork server: one process per executor, and below it one lane for each call that runs at a time. A lane forks one
# worker for each call, ahead of time, and kills whatever is left of the call when it ends. A lane dies with the server,
# and the server dies when the agent closes or loses its socket. How this is done is in `linux.py` and `portable.py`, of
# which one is appended to this file.
#
# Neither ever runs the code of a task, so a worker is always forked from a clean process.
import gc
import linecache
import os
import random
import re
import select
import signal
import socket
import sys
import time
import traceback

_MOST_FDS = 3
# What is left of an ended call must be dead within this time, or its lane serves no further call.
_END_SECONDS = 5.0
# A lane that is told to end ends its call within this time; the agent waits four seconds (`lane.rs`) and then kills it.
_LEAVE_SECONDS = 1.0


def receive(sock):
    """Receives one byte and the file handles sent with it; nothing at the end."""
    try:
        data, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(_MOST_FDS * 4))
    except OSError:
        return b"", []
    fds = []
    for level, kind, body in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.extend(int.from_bytes(body[at:at + 4], sys.byteorder) for at in range(0, len(body) - len(body) % 4, 4))
    return data, fds


def attempt(what):
    """Tries something in a child, because it cannot be undone; returns why it is not possible, or None if it is."""
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
    """Serves one call after the other, each in its own worker. `KernelLane` and `PortableLane` differ in what holds the
    processes of a call together, and in what ends a lane whose server or agent is gone."""

    def __init__(self, sock, lifeline, namespaces, config, strict):
        self.sock, self.lifeline, self.config, self.strict = sock, lifeline, config, strict
        self.contained = namespaces.kind in ("root", "user")
        for number in (signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        self.settle()

    def leave(self, *_):
        self.end_family(time.monotonic() + _LEAVE_SECONDS)
        os._exit(1)

    def leave_if_orphaned(self):
        """Leaves if the server died before this lane could notice it in another way."""
        if select.select([self.lifeline], [], [], 0)[0]:
            os._exit(1)

    def serve(self):
        while True:
            self.await_request()
            data, fds = receive(self.sock)
            if not data or len(fds) != _MOST_FDS:
                self.leave()
            try:
                worker = os.fork()
            except OSError:
                self.leave()
            if worker == 0:
                try:
                    os.setsid()
                    self.sock.close()
                    self.become_worker(fds)
                    work(*fds, self.config, self.strict)
                except BaseException:
                    traceback.print_exc()
                    sys.stderr.flush()
                os._exit(1)
            for fd in fds:
                os.close(fd)
            status = self.await_end(worker)
            is_ended = self.end_family(time.monotonic() + _END_SECONDS)
            self.sock.sendall((b"E" if is_ended else b"S") + status.to_bytes(4, "big"))
            if not is_ended:
                os._exit(1)


def kill_descendants(deadline):
    """Stops all descendants first, so that none can fork and escape the search, then kills them and their groups, whatever
    happens. Searches until the deadline, and at least once. Returns which processes were killed."""
    me, stopped = os.getpid(), set()
    try:
        while True:
            table = processes(deadline)
            own = table.get(me, (0, 0))[1]
            family, groups, size = {me}, set(), 0
            while len(family) != size:
                size = len(family)
                family.update(pid for pid, (parent, group) in table.items() if parent in family or group in groups)
                groups.update(table[pid][1] for pid in family if pid in table and table[pid][1] != own)
            found = family - stopped - {me}
            for pid in found:
                stopped.add(pid)
                signal_if_there(pid, signal.SIGSTOP)
            if not found or time.monotonic() > deadline:
                return stopped
    finally:
        for pid in stopped:
            signal_if_there(pid, signal.SIGKILL)


def processes_of_proc():
    """The parent and group of each live process according to `/proc`. A process whose first thread has ended has the state
    of a zombie, but lives as long as it has other threads."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rsplit(b")", 1)[1].split()
                state, parent, group, threads = fields[0], int(fields[1]), int(fields[2]), int(fields[17])
                if state != b"X" and not (state == b"Z" and threads <= 1):
                    table[int(name)] = (parent, group)
            except (OSError, IndexError, ValueError):
                pass
    return table


def signal_if_there(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        pass


def prefer_oom_kill():
    """Makes Linux end the code and not the agent if memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            file.write("500")
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


def send_message(said):
    body = whole(said)
    data = len(body).to_bytes(4, "big") + body
    while data:
        data = data[os.write(0, data):]


def close_inherited():
    inherited = range(3, 1024)
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            inherited = [int(name) for name in os.listdir(folder)]
            break
        except OSError:
            pass
    for fd in inherited:
        if fd > 2:
            try:
                os.close(fd)
            except OSError:
                pass


def warm_up(config):
    """Does once what each worker will do, so that workers need not copy that memory or load those modules."""
    main = sys.modules["__main__"]
    request = {"code": "result = 1", "name": "<code>", "path": None, "args": [], "context": {}}
    for _ in range(20):
        whole(execute(json.loads(json.dumps(request)), config)[1])
    sys.modules["__main__"] = main


def serve(config):
    close_inherited()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    strict = None
    try:
        namespaces = Namespaces(config["namespaces"], config["reason"])
        # The code of a task runs as the same user, but must not be able to write to this process or its lanes.
        conceal()
        if config["strict"]:
            if namespaces.kind not in ("root", "user"):
                raise OSError(f"no process namespace can be made ({namespaces.reason})")
            strict = Strict(config["filter"])
            prove(strict, namespaces, config["proof"])
    except OSError as error:
        send_message({"error": f"`sandbox: strict` is not possible here: {error}" if config["strict"] else str(error)})
        os._exit(1)
    shared_mounts = None
    # Without the rights of root, or under strict, code cannot mount anything.
    config["own_mounts"] = False
    if namespaces.kind == "root" and not config["strict"]:
        shared_mounts = attempt(own_mounts)
        config["own_mounts"] = shared_mounts is None
    # The kernel closes it when this process dies, however that happens; nothing is ever written to it.
    lifeline, _held = os.pipe()
    control = socket.socket(fileno=0)
    null = os.open(os.devnull, os.O_RDWR)
    send_message({"namespaces": namespaces.kind, "reason": namespaces.reason, "shared_mounts": shared_mounts})
    os.dup2(null, 2)
    os.close(null)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended lanes need not be reaped
    if not config["fresh"]:
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
        except OSError:  # no memory or process number: the call notices by its closed socket
            sock.close()
            continue
        if pid == 0:
            os.close(_held)
            control.detach()
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.close(null)
            lane = own_lane(sock, lifeline, namespaces, config, strict)
            try:
                lane.serve()
            finally:  # whatever went wrong, the call must end with the lane
                lane.leave()
        try:
            introduce(sock, pid)
        except OSError:
            signal_if_there(pid, signal.SIGKILL)
        sock.close()


def main():
    sys.path[:] = [entry for entry in sys.path if entry]  # the working folder must not shadow modules
    sys.argv[:] = ["<code>"]
    # As on standard error, output that is not Unicode must not end the code that prints it. Output is flushed by line,
    # so that watchers see it as it is printed.
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    config = json.loads(take(int.from_bytes(take(4), "big")))
    if "handles" in config:
        begin_fresh(config)
    else:
        serve(config)
