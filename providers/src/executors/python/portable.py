# The way of every other system, and of Linux where Python has no `ctypes` or the kernel is to be asked for nothing:
# process groups, parents, and the ends of sockets and pipes. A call's worker leads a session and a group of its own. What
# it leaves in the group is killed by its lane; what it started and left outside the group it kills itself at its end. When
# a call is ended early, the lane finds all of it by parents and groups. A process that has left the group, and whose
# parent has ended, is found by nobody.


class Namespaces:
    def __init__(self, _wanted, reason):
        self.kind, self.reason = "portable", reason

    def fork(self):
        return os.fork()


def nothing(*_):
    """What only Linux offers."""


conceal = reveal = own_mounts = be_the_first_to_go = nothing


def introduce(sock, pid):
    """Tells the agent the number of the lane's process."""
    sock.sendall(b"P" + pid.to_bytes(4, "big"))


def set_limit(name, soft, hard):
    """As far as the system knows such a limit. macOS refuses some that it names."""
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


def processes_of_ps():
    """The parent and the group of each process that has not ended, as `ps` tells them; nothing if it does not."""
    import subprocess

    table = {}
    try:
        ps = subprocess.Popen(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        try:
            text = ps.communicate(timeout=5)[0]
        except subprocess.TimeoutExpired:
            ps.kill()
            text = ps.communicate()[0]
    except OSError:
        return table
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 4 and int(fields[0]) != ps.pid and not fields[3].startswith(b"Z"):
            table[int(fields[0])] = (int(fields[1]), int(fields[2]))
    return table


def processes():
    return processes_of_proc() if os.path.exists("/proc/self/stat") else processes_of_ps()


def end_children():
    """In a worker whose code has ended: what it started and is still below it, in whatever group."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
    kill_descendants()


class PortableLane(Lane):
    worker = None

    def settle(self):
        # A byte for each child that ends, so that it can be waited for together with the ends of socket and lifeline.
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
        while True:
            pid, status = os.waitpid(worker, os.WNOHANG)
            if pid:
                return status
            ready = select.select([self.woken, self.sock, self.lifeline], [], [])[0]
            # Nothing is asked of a lane whose call has not ended, but to end.
            if self.sock in ready or self.lifeline in ready:
                self.leave()
            try:
                os.read(self.woken, 4096)
            except BlockingIOError:
                pass

    def end_family(self, deadline):
        """After a call: what is left of its group. Before its end: all that is below."""
        worker, self.worker = self.worker, None
        if worker is None:
            return
        killed = set()
        if deadline is not None:
            # All of the group at once: what multiplies does so no more while the rest is looked for.
            signal_group(worker, signal.SIGSTOP)
            killed = kill_descendants()
        end = time.monotonic() + _DEAD_SECONDS
        # Zombies are of the group until somebody reaps them, which not every first process of a container does.
        while (signal_group(worker, signal.SIGKILL) or killed) and time.monotonic() < end:
            try:
                os.waitpid(worker, os.WNOHANG)
            except ChildProcessError:
                pass
            if all(pid not in killed and group != worker for pid, (_, group) in processes().items()):
                break
            time.sleep(0.001)


def signal_group(leader, number):
    """Whether there was anybody."""
    try:
        os.killpg(leader, number)
        return True
    except OSError:  # macOS says of a group of zombies that it may not be killed
        return False


def become_fresh(fds, config):
    """An interpreter of its own for the call: not every system lets a fork of Python use all of its libraries."""
    import tempfile

    with tempfile.TemporaryFile(buffering=0) as file:
        said = json.dumps({**config, "handles": fds}).encode("utf-8")
        for part in (PROGRAM, said):
            file.write(len(part).to_bytes(4, "big") + part)
        file.seek(0)
        os.dup2(file.fileno(), 0)
        for fd in fds:
            os.set_inheritable(fd, True)
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-c", config["fresh"]])


def begin_fresh(config):
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    work(*config["handles"], config, None)


own_lane = PortableLane
