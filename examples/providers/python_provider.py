# A provider in Python. pip install "python-socketio[client]", then: python3 examples/providers/python_provider.py
import os, statistics, threading, uuid, socketio
PARAMETERS = {"type": "object", "additionalProperties": False, "properties": {"file": {"type": "string"},
    "numbers": {"type": "array", "items": {"type": "number"}}, "pause": {"type": "number", "default": 0}}}
RETURNS = {"type": "object", "additionalProperties": False, "required": ["mean", "deviation"],
    "properties": {"mean": {"type": "number"}, "deviation": {"type": "number"}}}
STATS = {"name": "stats", "version": "v1", "methods": {"stats/describe": {"parameters": PARAMETERS, "returns": RETURNS}}}
ME = {"component_type": "provider", "component_id": str(uuid.uuid4()), "secret": str(uuid.uuid4()),
    "name": "stats", "protocols": [STATS]}
hub, calls = socketio.Client(), {}  # for each open call, what is set when it is cancelled

def say(event, body):
    while not hub.connected:  # the control plane may be away for a while
        hub.sleep(0.1)
    hub.emit(event, body)

def describe(id, numbers=(), file=None, pause=0):
    numbers = numbers or [float(line) for line in open(file)]
    for number in numbers:
        say("method_progress", {"id": id, "data": {"text": f"{number}\n"}})
        calls[id].wait(pause)  # no longer than until it is cancelled
    return {"mean": statistics.mean(numbers), "deviation": statistics.stdev(numbers)}

@hub.on("execute_method")  # each call runs in a thread of its own
def execute(call):
    calls[call["id"]], answer = threading.Event(), {"jsonrpc": "2.0", "id": call["id"]}
    try:
        answer["result"] = describe(call["id"], **call["params"])
    except Exception as problem:  # a file may be there next time, bad numbers stay bad
        answer["error"] = {"code": -29002, "message": str(problem), "data": {"retryable": isinstance(problem, OSError)}}
    print("cancelled:", call["id"]) if calls.pop(call["id"]).is_set() else say("method_result", answer)

hub.on("welcome", lambda _: say("register_component", ME | {"max_concurrency": 8, "calls": list(calls)}))
hub.on("cancel_method", lambda cancel: calls[cancel["id"]].set() if cancel["id"] in calls else None)
hub.on("*", lambda event, body: event == "heartbeat" or print(event, body))  # above all registration_rejected
while True:  # a client that was suspended for long gives up by itself
    hub.connect(os.environ.get("GLEITZEIT_HUB_URL", "http://localhost:8000"), retry=True, transports=["websocket"],
        auth={"token": os.environ.get("GLEITZEIT_TOKEN", "")})
    hub.wait()
