# `sandbox: strict`: of the file system only Python itself and the call's own folder, no network, and no way to gain
# more. The server prepares once what all calls share (`Strict`); each worker then confines itself for good (`enter`).
# Anything that the kernel lacks raises `OSError`, and then nothing runs.
import errno
import struct

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT, _MOUNT_SETATTR = 444, 445, 446, 442
_READ_ONLY, _PRIVATE, _BIND = 1, 1 << 18, 1 << 12
# Landlock's rights, as numbered in its header.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCKET, _MAKE_BLOCK, _TRUNCATE, _DEVICE = 1 << 6, 1 << 9, 1 << 11, 1 << 14, 1 << 15
_ALL_RIGHTS = (1 << 16) - 1
_OLDEST_ABI = 3  # the first that prevents truncating files


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def _filter(text):
    """The program for the kernel's system call filter, and the object that owns its memory."""
    if not text:
        raise OSError(errno.ENOSYS, f"the system calls of {MACHINE} are not known here")
    code = ctypes.create_string_buffer(bytes.fromhex(text))
    return _Program(len(text) // 16, ctypes.cast(code, ctypes.c_void_p)), code


def _installation():
    """The folders and files that Python and its libraries consist of."""
    paths = [os.path.dirname(os.__file__), os.path.realpath(sys.executable), *sys.path]
    with open("/proc/self/maps") as maps:
        mapped = (line.split(None, 5)[5:] for line in maps)
        paths += [os.path.dirname(path[0].strip()) for path in mapped if path and ".so" in path[0]]
    paths += ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime",
              "/usr/share/zoneinfo"]
    return {os.path.realpath(path) for path in paths if path and os.path.exists(path) and os.path.realpath(path) != "/"}


def _set_mount(path, on, off, flags):
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", on, off, 0, 0), 32)
    syscall("mount_setattr", _MOUNT_SETATTR, ctypes.c_int(-100), ctypes.c_char_p(path.encode()), ctypes.c_uint(flags),
            attributes, ctypes.c_size_t(32))


class Strict:
    """What all calls share. Created in the server before it serves, with all of its rights."""

    def __init__(self, refused):
        self.abi = syscall("landlock", _LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
        if self.abi < _OLDEST_ABI:
            raise OSError(errno.ENOSYS, f"the kernel's Landlock is too old (ABI {self.abi}, not {_OLDEST_ABI})")
        self.rights = _ALL_RIGHTS if self.abi >= 5 else _ALL_RIGHTS & ~_DEVICE
        self.filter, self._kept = _filter(refused)
        self._make_all_read_only()
        self.paths = []
        for path in sorted(_installation()):
            self._admit(path, _READ_FILE | _EXECUTE | (_READ_DIR if os.path.isdir(path) else 0))
        for device in ("null", "zero", "full", "random", "urandom"):
            self._admit(f"/dev/{device}", _READ_FILE | (_WRITE_FILE if device in ("null", "zero", "full") else 0))
        forget_bounding_set()

    @staticmethod
    def _make_all_read_only():
        """Landlock does not prevent changes of modes, owners and times; a read-only mount does."""
        unshare(NEW_NAMESPACE | NEW_NET)
        mount("none", "/", _PRIVATE | _RECURSIVE)
        _set_mount("/", _READ_ONLY, 0, 0x8000)
        try:
            # Lanes limit the process numbers of their namespaces there; for the code all of it is read-only.
            _set_mount("/proc", 0, _READ_ONLY, 0)
        except OSError:
            pass

    def _admit(self, path, rights):
        try:
            self.paths.append((os.open(path, os.O_PATH | os.O_CLOEXEC), rights & self.rights))
        except OSError:
            pass  # what cannot be opened cannot be used either

    def prepare(self):
        """A set of rules that lacks only the call's folder."""
        words = [self.rights, 3, 3][:1 if self.abi < 4 else 2 if self.abi < 6 else 3]
        attributes = ctypes.create_string_buffer(struct.pack(f"{len(words)}Q", *words), 8 * len(words))
        rules = syscall("landlock", _LANDLOCK_CREATE, attributes, ctypes.c_size_t(8 * len(words)), ctypes.c_uint(0))
        for fd, rights in self.paths:
            self._add(rules, fd, rights)
        forbid_new_privileges()
        return rules

    @staticmethod
    def _add(rules, fd, rights):
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, fd), 12)
        syscall("landlock", _LANDLOCK_ADD, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint(0))

    def enter(self, rules, folder):
        """Gives up all rights except those of `rules` and this folder; cannot be undone."""
        unshare(NEW_NAMESPACE | NEW_IPC)
        _set_mount("/proc", _READ_ONLY, 0, 0)
        mount(folder, folder, _BIND)
        _set_mount(folder, 0, _READ_ONLY, 0)
        os.chdir(folder)  # the working folder is now the one that can be written to
        own = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        self._add(rules, own, self.rights & ~(_MAKE_CHAR | _MAKE_BLOCK | _MAKE_SOCKET))
        drop_capabilities()
        syscall("landlock", _LANDLOCK_RESTRICT, ctypes.c_int(rules), ctypes.c_uint(0))
        load_filter(self.filter)
        for fd in (own, rules, *(fd for fd, _ in self.paths)):
            os.close(fd)


def prove(strict, namespaces, folder):
    """Tries from inside what must not work, so that the sandbox is known to hold."""
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
    """What was possible although it must not be, or impossible although it should work; empty if all is well."""
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
