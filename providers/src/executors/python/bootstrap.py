import os
def take(count):
    data = b""
    while len(data) < count:
        part = os.read(0, count - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
PROGRAM = take(int.from_bytes(take(4), "big"))
exec(compile(PROGRAM, "<gleitzeit>", "exec"))
