# The Linux way: a lane is the first process of a process namespace. When a worker ends, the lane kills and reaps
# everything left in its namespace, so that nothing outlives a call; when a lane dies, the kernel does the same. Where
# the kernel provides no namespaces, orphans are adopted and found by their parents.


class Namespaces:
    """Forks lanes into their own process namespaces; `kind` says with whose rights: `root`, `user` or `none`."""

    def __init__(self, wanted, _reason):
        self.kind, self.reason, self._own = "none", "switched off", None
        for kind in ("root", "user"):
            if wanted in ("auto", kind):
                self.reason = self._try(kind)
                if self.reason is None:
                    self._enter(kind)
                    self.kind = kind
                    return

    def _try(self, kind):
        """Tries it in a child, because part of it cannot be undone."""
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
        """Keeps user and group. The process namespace belongs to the user namespace, so that it may be left."""
        uid, gid = os.geteuid(), os.getegid()
        unshare(NEW_USER | NEW_PID)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        conceal()
        pid = os.fork()
        if pid:
            # The child is the actual server; this process only waits for it and ends with it.
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


def limit_process_numbers(most):
    """Sets the kernel's own limit (for root) on the processes of a namespace; numbers below 300 are assigned only once."""
    try:
        release = tuple(int(part) for part in re.match(r"(\d+)\.(\d+)", os.uname().release).groups())
    except (AttributeError, ValueError):
        return
    # Before Linux 6.14 the limit applies to the whole machine.
    if release < (6, 14):
        return
    try:
        with open("/proc/sys/kernel/pid_max", "r+") as file:
            file.write(str(300 + 4 * most))
    except OSError:
        pass


def processes(_deadline):
    return processes_of_proc()


def introduce(sock, pid):
    """Gives the agent a handle of the lane's process."""
    pidfd = pidfd_open(pid)
    try:
        sock.sendmsg([b"P"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, pidfd.to_bytes(4, sys.byteorder))])
    finally:
        os.close(pidfd)


def set_limit(name, soft, hard):
    kind = getattr(resource, name)
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))


def end_children():
    """Does nothing: the lane finds all of them."""


class KernelLane(Lane):
    def settle(self):
        if self.contained:
            die_with_parent(signal.SIGKILL)
            limit_process_numbers(self.config["max_processes"])
        else:
            # Nothing kills the family if this process is killed, so the agent asks it to end instead.
            signal.signal(signal.SIGTERM, self.leave)
            die_with_parent(signal.SIGTERM)
            adopt_orphans()
        self.leave_if_orphaned()
        os.close(self.lifeline)

    def await_request(self):
        """Does nothing: this lane is asked to end by a signal."""

    def become_worker(self, fds):
        if not self.contained:
            die_with_parent(signal.SIGKILL)

    def await_end(self, worker):
        pid, status = os.waitpid(-1, 0)
        while pid != worker:
            pid, status = os.waitpid(-1, 0)
        return status

    def end_family(self, deadline):
        """Kills and reaps until no process is left; returns whether that happened in time."""
        while True:
            if self.contained:
                try:
                    os.kill(-1, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            else:
                kill_descendants(deadline)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)


own_lane = KernelLane
