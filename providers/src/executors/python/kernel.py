# Kernel features that Python does not offer: namespaces, death with the parent, capabilities. Loaded by the fork
# server. No decisions are made here; the callers handle `OSError`.
import ctypes
import os

NEW_NAMESPACE, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS, _SECCOMP, _CAPBSET_DROP, _SUBREAPER = 1, 4, 38, 22, 24, 36
_CAPSET = {"x86_64": 126, "aarch64": 91}
_PIDFD_OPEN = 434
_RECURSIVE, _SLAVE = 1 << 14, 1 << 19

_libc = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine


def _checked(returned, what):
    if returned < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return returned


def syscall(what, number, *arguments):
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments), what)


def prctl(option, first=0, second=0):
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in (first, second)]
    return _checked(_libc.prctl(ctypes.c_int(option), *words, ctypes.c_ulong(0), ctypes.c_ulong(0)), "prctl")


def unshare(flags):
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd, flags):
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def mount(source, target, flags):
    _checked(_libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None), "mount")


def die_with_parent(signal):
    prctl(_PDEATHSIG, signal)


def adopt_orphans():
    prctl(_SUBREAPER, 1)


def conceal():
    """Hides the memory and environment of this process and its forks from other processes of the same user."""
    prctl(_DUMPABLE, 0)


def reveal():
    prctl(_DUMPABLE, 1)


def own_mounts():
    """Makes later mounts visible only to this process and those it starts; mounts of others stay visible here."""
    unshare(NEW_NAMESPACE)
    mount("none", "/", _SLAVE | _RECURSIVE)


def forbid_new_privileges():
    prctl(_NO_NEW_PRIVS, 1)


def load_filter(program):
    prctl(_SECCOMP, 2, ctypes.byref(program))


def pidfd_open(pid):
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    return syscall("pidfd_open", _PIDFD_OPEN, ctypes.c_int(pid), ctypes.c_uint(0))


def forget_bounding_set():
    """Keeps programs that are started from now on from gaining capabilities, even those of root."""
    for capability in range(64):
        try:
            prctl(_CAPBSET_DROP, capability)
        except OSError:
            return


def drop_capabilities():
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    syscall("capset", _CAPSET[MACHINE], ctypes.byref(header), ctypes.byref(nothing))
