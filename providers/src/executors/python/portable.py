# The way of all other systems, and of Linux where Python has no `ctypes` or the kernel's special features are not to be
# used: process groups, parents, and the ends of sockets and pipes. The worker of a call leads its own session and
# group. Its lane kills what it leaves in the group; the worker itself kills, at its end, what it started outside the
# group. If a call is ended early, the lane finds all of it by parents and groups; if the lane is dead, the agent does.
# A process that has left the group and whose parent has ended cannot be found.


class Namespaces:
    def __init__(self, _wanted, reason):
        self.kind, self.reason = "portable", reason

    def fork(self):
        return os.fork()


def nothing(*_):
    """Does nothing: only Linux offers this."""


conceal = reveal = own_mounts = nothing


def introduce(sock, pid):
    """Tells the agent the number of the lane's process."""
    sock.sendall(b"P" + pid.to_bytes(4, "big"))


def set_limit(name, soft, hard):
    """Sets a limit if the system knows it. macOS refuses some that it names."""
    kind = getattr(resource, name, None)
    if kind is None:
        return
    try:
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(kind, (soft, hard))
    except (OSError, ValueError):
        pass


def processes_of_ps(deadline):
    """The parent and group of each live process according to `ps`; nothing if `ps` does not answer in time."""
    import subprocess

    table = {}
    try:
        ps = subprocess.Popen(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
    except OSError:
        return table
    try:
        text = ps.communicate(timeout=max(0.2, deadline - time.monotonic()))[0]
    except subprocess.TimeoutExpired:
        ps.kill()
        return table
    for line in text.splitlines():
        fields = line.split()
        try:
            pid, parent, group = (int(field) for field in fields[:3])
            # If a zombie has threads (`l`), only its first thread has ended.
            if pid != ps.pid and not (fields[3].startswith(b"Z") and b"l" not in fields[3]):
                table[pid] = (parent, group)
        except (IndexError, ValueError):
            pass
    return table


def processes(deadline):
    return processes_of_proc() if os.path.exists("/proc/self/stat") else processes_of_ps(deadline)


def end_children():
    """Kills, in a worker whose code has ended, all processes still below it, in whatever group."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
    kill_descendants(time.monotonic() + _LEAVE_SECONDS)


class PortableLane(Lane):
    # `worker` is the child while it is not reaped; `group` is its process group once it is.
    worker = group = None

    def settle(self):
        # Gets a byte for each child that ends, so that this can be awaited together with the socket and the lifeline.
        self.woken, self.wake = os.pipe()
        for fd in (self.woken, self.wake):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, nothing)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        self.leave_if_orphaned()

    def await_request(self):
        if self.lifeline in select.select([self.sock, self.lifeline], [], [])[0]:
            self.leave()

    def become_worker(self, fds):
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (self.woken, self.wake, self.lifeline):
            os.close(fd)
        if self.config["fresh"]:
            become_fresh(fds, self.config)

    def await_end(self, worker):
        self.worker = worker
        # If the lane is killed, the agent ends the worker.
        self.sock.sendall(b"W" + worker.to_bytes(4, "big"))
        while True:
            status = end_of(worker)
            if status is not None:
                self.worker, self.group = None, worker
                return status
            ready = select.select([self.woken, self.sock, self.lifeline], [], [])[0]
            # The only request to a lane whose call has not ended is to end.
            if self.sock in ready or self.lifeline in ready:
                self.leave()
            try:
                os.read(self.woken, 4096)
            except BlockingIOError:
                pass

    def leave(self, *_):
        try:
            if self.end_family(time.monotonic() + _LEAVE_SECONDS):
                self.sock.sendall(b"L" + bytes(4))
        finally:
            os._exit(1)

    def end_family(self, deadline):
        """Kills the rest of an ended call's group, or all of a running call; returns whether all died in time."""
        killed, left = set(), set()
        if self.worker is not None:
            self.group = self.worker
            # Stop the whole group at once, so that nothing in it multiplies while the rest is searched for.
            signal_group(self.group, signal.SIGSTOP)
            try:
                killed = kill_descendants((time.monotonic() + deadline) / 2)
            finally:
                signal_group(self.group, signal.SIGKILL)
        while self.group is not None and (killed or group_is_there(self.group)):
            table = processes(deadline)
            left = {pid for pid, (_, group) in table.items() if pid in killed or group == self.group}
            if not left:
                break
            if time.monotonic() > deadline:
                return False
            # A member still exists, so the number of the group has not been reused.
            if any(table[pid][1] == self.group for pid in left):
                signal_group(self.group, signal.SIGKILL)
            time.sleep(0.001)
        self.group = None
        return True


def end_of(worker):
    """How a child ended; None if it has not. What is left of its group is killed first: once the child is reaped, its
    number may be reused."""
    if hasattr(os, "waitid"):
        if os.waitid(os.P_PID, worker, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        signal_group(worker, signal.SIGKILL)
        return os.waitpid(worker, 0)[1]
    # On macOS before Python 3.13: a number is not reused that soon.
    pid, status = os.waitpid(worker, os.WNOHANG)
    if pid == 0:
        return None
    signal_group(worker, signal.SIGKILL)
    return status


def signal_group(leader, number):
    try:
        os.killpg(leader, number)
    except OSError:  # the group is empty, or none of it may be signalled
        pass


def group_is_there(leader):
    """Whether a group has any process, even a zombie. On macOS signalling a group of zombies is an error."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def become_fresh(fds, config):
    """Replaces this process by a fresh interpreter for the call: not every system lets a fork of Python use all libraries,
    and not every Python can set its own limits."""
    import tempfile

    with tempfile.TemporaryFile(buffering=0) as file:
        said = json.dumps({**config, "handles": fds}).encode("utf-8")
        for part in (PROGRAM, said):
            file.write(len(part).to_bytes(4, "big") + part)
        file.seek(0)
        os.dup2(file.fileno(), 0)
        for fd in fds:
            os.set_inheritable(fd, True)
        command = [*config["within"], sys.executable, "-X", "utf8", "-c", config["fresh"]]
        os.execv(command[0], command)


def begin_fresh(config):
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    work(*config["handles"], config, None)


own_lane = PortableLane
