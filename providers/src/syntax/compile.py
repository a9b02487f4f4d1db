# Compiles texts without running them: reads a JSON list of texts from standard input and writes a list of null or
# [line, column, message] to standard output.
import json
import sys
import warnings

try:
    import resource

    # A text that compiles for this long, or takes this much memory, was not written by a person.
    resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
except (ImportError, ValueError, OSError):
    pass
warnings.simplefilter("ignore")


def mistake(text):
    try:
        compile(text, "<code>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return [max(1, error.lineno or 1), max(1, error.offset or 1), str(error.msg)[:1000]]
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        return [1, 1, (str(error) or type(error).__name__)[:1000]]
    return None


texts = json.loads(sys.stdin.buffer.read().decode("utf-8"))
sys.stdout.write(json.dumps([mistake(text) for text in texts]))
