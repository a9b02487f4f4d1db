# Runs one call inside a fresh interpreter: `python -c HARNESS FOLDER LIMIT`. Standard input is a pipe that the agent
# holds open and never writes to; when the agent dies, however it dies, the kernel closes it, and the group is killed.
import sys
sys.path[:] = [entry for entry in sys.path if entry]  # the working folder must not shadow modules
import os


def _gleitzeit_main():
    import json
    import time

    folder, limit = sys.argv[1], int(sys.argv[2])
    sys.argv[:] = ["<code>"]

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

    # The user's standard input is empty; ours moves away, is not inherited by programs, and guards our life.
    alive = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    def watch_in_thread():
        import threading

        def watch():
            os.read(alive, 1)
            os.killpg(0, 9)

        threading.Thread(target=watch, daemon=True).start()

    try:
        import fcntl
        import select

        # The kernel itself kills the group when the pipe changes, even if the code never releases the interpreter.
        fcntl.fcntl(alive, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(alive, fcntl.F_SETSIG, 9)
        fcntl.fcntl(alive, fcntl.F_SETFL, fcntl.fcntl(alive, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([alive], [], [], 0)[0]:  # it died before we were ready
            os.killpg(0, 9)
    except (ImportError, AttributeError, OSError):
        watch_in_thread()

    with open(os.path.join(folder, "request.json"), encoding="utf-8") as file:
        request = json.load(file)
    code = request["code"]
    namespace = {
        "__name__": "__main__",
        "__builtins__": __builtins__,
        "context": request["context"],
    }
    out, err = sys.stdout, sys.stderr

    class NotJson(Exception):
        pass

    def refuse(value):
        raise NotJson(type(value).__name__)

    def failure(error):
        import linecache
        import traceback

        linecache.cache["<code>"] = (len(code), None, code.splitlines(True), "<code>")
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != "<code>":
            trace = trace.tb_next
        lines = traceback.format_exception(type(error), error.with_traceback(trace), trace)
        only = traceback.format_exception_only(type(error), error)
        return {"error": only[-1].strip()[:4096], "type": type(error).__name__, "traceback": "".join(lines)[-32768:]}

    def run():
        try:
            exec(compile(code, "<code>", "exec", dont_inherit=True), namespace)
        except SystemExit as leave:
            if leave.code not in (None, 0):
                return failure(leave)
        except BaseException as error:
            return failure(error)
        threading = sys.modules.get("threading")
        if threading is not None:
            for thread in threading.enumerate():
                if not thread.daemon and thread is not threading.main_thread():
                    thread.join()
        return None

    started = time.perf_counter()
    answer = run()
    seconds = time.perf_counter() - started
    if answer is None:
        result = namespace.get("result")
        try:
            text = json.dumps(result, default=refuse, allow_nan=False, ensure_ascii=False)
            text.encode("utf-8")
            answer = {"seconds": seconds}
            size = len(text.encode("utf-8"))
            if size > limit:
                text = "null"
                answer = {"error": f"the variable `result` has {size} bytes as JSON, more than the limit of {limit}"}
        except NotJson as error:
            answer = {"error": f"the variable `result` holds a value of type `{error}`, which is not JSON"}
        except (TypeError, ValueError, RecursionError) as error:
            answer = {"error": f"the variable `result` of type `{type(result).__name__}` is not JSON: {error}"}
        else:
            with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
                file.write(text)
    import atexit

    atexit._run_exitfuncs()
    for stream in (out, err, sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    # Written last: it says that the rest is complete.
    with open(os.path.join(folder, "answer.json"), "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(answer, file)
    os._exit(0)


_gleitzeit_main()
