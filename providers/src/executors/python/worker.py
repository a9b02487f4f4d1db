# Runs one call: `work` is forked by a lane before the call is known and waits for it. It answers on its socket: `R`
# with the result as JSON text if there is one, then `A` with how it ended.


class NotJson(Exception):
    pass


def refuse(value):
    raise NotJson(type(value).__name__)


def read_request(call):
    """None if the call never comes."""
    def exactly(count):
        parts = []
        while count:
            part = os.read(call, min(count, 1 << 20))
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    size = exactly(4)
    body = size and exactly(int.from_bytes(size, "big"))
    return body and json.loads(body)


def send_frame(call, kind, body):
    data = kind + len(body).to_bytes(4, "big") + body
    while data:
        data = data[os.write(call, data):]


def failure(error, request, config):
    code, name = request["code"], request["name"]
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != name:
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error.with_traceback(trace), trace)
    text = traceback.format_exception_only(type(error), error)[-1].strip()[:4096]
    if isinstance(error, MemoryError):
        text += f" (a process may have {config['max_memory_bytes']} bytes, see `max_memory_bytes`)"
    return {"error": text, "type": type(error).__name__, "traceback": "".join(lines)[-32768:]}


def run_code(request, namespace, config):
    try:
        exec(compile(request["code"], request["name"], "exec", dont_inherit=True), namespace)
    except SystemExit as leave:
        if leave.code not in (None, 0):
            return failure(leave, request, config)
    except BaseException as error:
        return failure(error, request, config)
    threading = sys.modules.get("threading")
    if threading is not None:
        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.main_thread():
                thread.join()
    return None


def execute(request, config):
    """What ran, as JSON text of the result and as the answer."""
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    main.__dict__["context"] = request["context"]
    if request["path"] is not None:
        main.__dict__["__file__"] = request["path"]
    sys.argv[:] = [request["name"], *request["args"]]
    out, err = sys.stdout, sys.stderr
    started = time.perf_counter()
    answer = run_code(request, main.__dict__, config)
    seconds = time.perf_counter() - started
    text = None
    if answer is None:
        result = main.__dict__.get("result")
        try:
            text = json.dumps(result, default=refuse, allow_nan=False, ensure_ascii=False).encode("utf-8")
            answer = {"seconds": seconds}
            limit = config["max_result_bytes"]
            if len(text) > limit:
                answer = {"error": f"the variable `result` has {len(text)} bytes as JSON, more than the limit of {limit}"}
                text = None
        except NotJson as error:
            answer = {"error": f"the variable `result` holds a value of type `{error}`, which is not JSON"}
        except (TypeError, ValueError, RecursionError, MemoryError) as error:
            answer = {"error": f"the variable `result` of type `{type(result).__name__}` is not JSON: {error}"}
    import atexit

    atexit._run_exitfuncs()
    for stream in (out, err, sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    return text, answer


def limit(config):
    """For each process of the call; those for all of them together are the agent's business."""
    memory = config["max_memory_bytes"]
    cpu = config["max_cpu_seconds"]
    for name, soft, hard in (
        # What a process may write to, its heap above all. Address space may be larger: threads reserve much of it.
        ("RLIMIT_DATA", memory, memory),
        ("RLIMIT_AS", 4 * memory, 4 * memory),
        # First the signal that says why, then the one that cannot be ignored.
        ("RLIMIT_CPU", cpu, cpu + 2),
        ("RLIMIT_NOFILE", config["max_open_files"], config["max_open_files"]),
        ("RLIMIT_FSIZE", config["max_file_bytes"], config["max_file_bytes"]),
        ("RLIMIT_CORE", 0, 0),
    ):
        kind = getattr(resource, name)
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(kind, (soft, hard))
    # If memory runs out all the same, the kernel shall end the code and not the agent.
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            file.write("500")
    except OSError:
        pass


def validate(request):
    """Compiles and does no more."""
    import warnings

    warnings.simplefilter("ignore")
    errors = []
    try:
        compile(request["code"], request["name"], "exec", dont_inherit=True)
    except SyntaxError as error:
        errors.append((error.lineno, error.offset, error.msg))
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        errors.append((1, 1, str(error) or type(error).__name__))
    places = [{"line": max(1, line or 1), "column": max(1, column or 1), "message": str(message)}
              for line, column, message in errors]
    text = json.dumps({"valid": not places, "errors": places}, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace"), {"seconds": 0}


def work(call, out, err, config, contained, strict):
    os.setsid()
    if not contained:
        die_with_parent(signal.SIGKILL)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for fd in (out, err):
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    limit(config)
    rules = strict and strict.prepare()
    gc.enable()
    request = read_request(call)
    if request is None:
        os._exit(0)
    os.chdir(request["folder"])
    os.environ["TMPDIR"] = request["folder"]
    if strict:
        strict.enter(rules, request["folder"])
    text, answer = validate(request) if request["only_check"] else execute(request, config)
    # Nothing of the code runs any more in this thread; the answer says that the rest is complete.
    if text is not None:
        send_frame(call, b"R", text)
    send_frame(call, b"A", json.dumps(answer).encode("utf-8", "backslashreplace"))
    os._exit(0)
