# Runs one call: a lane forks `work` before the call is known, and it waits for the call. It answers on its socket: `R`
# with the result as JSON text if there is one, then `A` with how the code ended.


def refuse(value):
    raise TypeError(f"it holds a value of type `{type(value).__name__}`")


def plain(text):
    """Text that can be sent: anything that is not Unicode, such as half of a surrogate pair, becomes an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def whole(answer):
    """The answer as JSON text, whatever its texts contain."""
    said = {name: plain(value) if isinstance(value, str) else value for name, value in answer.items()}
    return json.dumps(said, ensure_ascii=False).encode("utf-8")


def read_request(call):
    """Reads the request of a call; None if it never comes."""
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
        program = compile(request["code"], request["name"], "exec", dont_inherit=True)
    except SyntaxError as error:
        place = {"line": max(1, error.lineno or 1), "column": max(1, error.offset or 1)}
        told = failure(error, request, config)
        told["error"] += f" (line {place['line']}, column {place['column']})"
        return {**told, **place, "final": True}
    except (ValueError, OverflowError, RecursionError) as error:
        return {**failure(error, request, config), "final": True}
    except MemoryError as error:
        return failure(error, request, config)
    try:
        exec(program, namespace)
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


def path_of(steps):
    """A path as references write it; a step into a list is a number, one into an object is its key."""
    path = "result"
    for is_map, step in steps:
        if not is_map:
            path += f"[{step}]"
        elif isinstance(step, str) and re.fullmatch("[A-Za-z0-9_-]{1,60}", step):
            path += f".{step}"
        else:
            key = plain(str(step))
            path += f"['{key if len(key) <= 60 else key[:60] + '…'}']"
    return path if len(path) <= 120 else path[:120] + "…"


def wrong_text(text):
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return (f"holds {plain(text[error.start])} at {error.start}, half of a surrogate pair (a lone surrogate), which is "
                "no Unicode text; mend it with `.encode('utf-8', 'replace').decode()`")
    return None


def wrong_number(number):
    if isinstance(number, float):
        if number - number == 0:
            return None
        name = "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
        return f"is {name}, which is no JSON; use None or text instead"
    if -(1 << 63) <= number < 1 << 64:
        return None
    # Python refuses to print very long numbers.
    which = f"{int(number)}" if number.bit_length() <= 256 else f"of {number.bit_length()} bits"
    return f"is the whole number {which}, which does not fit into 64 bits; return it as text, with `str(...)`"


def wrong_key(key):
    if isinstance(key, str):
        wrong = wrong_text(key)
        return wrong and f"has a key that {wrong}"
    if key is None or isinstance(key, int):
        return None
    if isinstance(key, float):
        wrong = wrong_number(key)
        return wrong and f"has a key that {wrong}"
    return f"has a key of type `{type(key).__name__}`, which is not JSON"


def problem_of(result, config):
    """Why a value cannot be carried, with the path to the first such place; None if it can. Works without recursion,
    however deep the value is, and ends, however often it contains the same value."""
    levels, steps, count, value = [], [], 0, result
    while True:
        wrong = None
        if value is None or value is True or value is False:
            pass
        elif isinstance(value, str):
            wrong = wrong_text(value)
        elif isinstance(value, (int, float)):
            wrong = wrong_number(value)
        elif isinstance(value, (list, tuple, dict)):
            if len(levels) == config["max_depth"]:
                return f"the variable `result` is nested deeper than the limit of {config['max_depth']} levels, or holds itself"
            is_map = isinstance(value, dict)
            levels.append(iter(value.items()) if is_map else enumerate(value))
            steps.append((is_map, None))
        else:
            wrong = f"is of type `{type(value).__name__}`, which is not JSON"
        if wrong:
            return f"`{path_of(steps)}` {wrong}"
        while levels:
            try:
                step, value = next(levels[-1])
            except StopIteration:
                levels.pop()
                steps.pop()
                continue
            is_map = steps[-1][0]
            if is_map:
                wrong = wrong_key(step)
                if wrong:
                    return f"`{path_of(steps[:-1])}` {wrong}"
            steps[-1] = (is_map, step)
            break
        else:
            return None
        count += 1
        # Each value takes at least one byte.
        if count > config["max_result_bytes"]:
            return f"the variable `result` has more values than the limit of {config['max_result_bytes']} bytes allows"


def has_more_values(result, limit):
    """Whether a result has more values than a limit, each counted wherever it occurs. Looks into each list and dict once,
    however often it occurs: as JSON, `x = [x, x]` doubles each time."""
    containers, scalars = (list, tuple, dict), {int, float, str, bool, type(None)}
    if not isinstance(result, containers):
        return False
    counts, inner, stack = {}, {}, [result]
    while stack:
        value = stack[-1]
        name = id(value)
        if name in counts:
            stack.pop()
        elif name not in inner:
            of = value.values() if isinstance(value, dict) else value
            inner[name] = [child for child in of if type(child) not in scalars and isinstance(child, containers)]
            stack.extend(child for child in inner[name] if id(child) not in inner)
        else:
            # What holds itself has no count here; it is refused as JSON.
            counts[name] = 1 + len(value) + sum(counts.get(id(child), 1) - 1 for child in inner[name])
            if counts[name] > limit:
                return True
            stack.pop()
    return False


def as_json(result):
    """The result as JSON text. It does not notice nesting that Python still accepts or numbers beyond 64 bits; the reader
    does."""
    limit = sys.getrecursionlimit()
    # The code may have lowered it, or raised it beyond what the stack can hold.
    sys.setrecursionlimit(1000)
    try:
        return json.dumps(result, default=refuse, allow_nan=False, ensure_ascii=False).encode("utf-8")
    finally:
        sys.setrecursionlimit(limit)


def result_of(result, config):
    """The result as JSON text, or the answer that says why it cannot be one."""
    try:
        limit = config["max_result_bytes"]
        # Each value takes at least one byte.
        if has_more_values(result, limit):
            raise ValueError(f"more values than the limit of {limit} bytes allows")
        text = as_json(result)
        if len(text) <= limit:
            return text, None
        problem = f"the variable `result` has {len(text)} bytes as JSON, more than the limit of {limit}"
    except Exception as error:
        try:
            problem = problem_of(result, config)
        except Exception:
            problem = None
        problem = problem or f"the variable `result` of type `{type(result).__name__}` is not JSON: {error}"
    return None, {"error": problem, "invalid": True}


def execute(request, config):
    """Runs the code; returns the result as JSON text, and the answer."""
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
        text, answer = result_of(main.__dict__.get("result"), config)
        if answer is None:
            answer = {"seconds": seconds}
    import atexit

    atexit._run_exitfuncs()
    for stream in (out, err, sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    return text, answer


def limit(config):
    """Sets the limits for each process of the call; the agent enforces those for all of them together."""
    memory = config["max_memory_bytes"]
    cpu = config["max_cpu_seconds"]
    for name, soft, hard in (
        # Writable memory, above all the heap. The address space may be larger, because threads reserve much of it.
        ("RLIMIT_DATA", memory, memory),
        ("RLIMIT_AS", 4 * memory, 4 * memory),
        # First the signal that gives the reason, then the one that cannot be ignored.
        ("RLIMIT_CPU", cpu, cpu + 2),
        ("RLIMIT_NOFILE", config["max_open_files"], config["max_open_files"]),
        ("RLIMIT_FSIZE", config["max_file_bytes"], config["max_file_bytes"]),
        ("RLIMIT_CORE", 0, 0),
    ):
        set_limit(name, soft, hard)


def validate(request):
    """Only compiles the code."""
    import warnings

    warnings.simplefilter("ignore")
    errors = []
    try:
        compile(request["code"], request["name"], "exec", dont_inherit=True)
    except SyntaxError as error:
        errors.append((error.lineno, error.offset, error.msg))
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        errors.append((1, 1, str(error) or type(error).__name__))
    places = [{"line": max(1, line or 1), "column": max(1, column or 1), "message": plain(str(message))}
              for line, column, message in errors]
    return json.dumps({"valid": not places, "errors": places}, ensure_ascii=False).encode("utf-8"), {"seconds": 0}


def work(call, out, err, config, strict):
    os.dup2(out, 1)
    os.dup2(err, 2)
    for fd in (out, err):
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if config["own_mounts"]:
        own_mounts()
    limit(config)
    rules = strict and strict.prepare()
    gc.enable()
    request = read_request(call)
    if request is None:
        os._exit(0)
    # Until now it was protected like the process it was forked from, so that nothing could be injected into it.
    reveal()
    prefer_oom_kill()
    os.chdir(request["folder"])
    os.environ["TMPDIR"] = request["folder"]
    if strict:
        strict.enter(rules, request["folder"])
    text, answer = validate(request) if request["only_check"] else execute(request, config)
    try:
        end_children()
    except BaseException:  # the code has ended anyway; its lane kills what is left in its group
        pass
    # None of the code runs in this thread any more; the answer says that everything else is complete.
    if text is not None:
        send_frame(call, b"R", text)
    send_frame(call, b"A", whole(answer))
    os._exit(0)
