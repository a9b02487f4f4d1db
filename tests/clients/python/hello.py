"""Submits a workflow twice under one request id, follows its run to the end, and shows what refusals look like:
`hello.py ADDRESS FILE`, with the token in GLEITZEIT_TOKEN."""

import os
import sys
import time
import uuid

sys.path.insert(0, "gen")

import grpc
from gleitzeit.v1 import run_pb2, workflow_service_pb2 as pb
from gleitzeit.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# ----------------------------------------------------------------------------------------------------------------------
DEADLINE_S = 10  # for one call
ATTEMPTS = 6  # of one request, each with the same request id
PAUSE_S = 0.5  # between them, unless the server says how long


def connect(address):
    """A connection that notices within half a minute when nobody is there any more."""
    options = {
        "grpc.keepalive_time_ms": 20_000,
        "grpc.keepalive_timeout_ms": 10_000,
        "grpc.http2.max_pings_without_data": 0,  # as many as it takes, also while a run is silent
    }
    # Behind a proxy that ends TLS: grpc.secure_channel with grpc.ssl_channel_credentials().
    return grpc.insecure_channel(address, options=list(options.items()))


def authorized(token):
    """What goes with each call that shows this token."""
    return [("authorization", f"Bearer {token}")]


def submit(stub, metadata, request):
    """May be called again with the same request id: there will be one run."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return stub.SubmitWorkflow(request, timeout=DEADLINE_S, metadata=metadata, wait_for_ready=True)
        except grpc.RpcError as error:
            refused = Refusal(error)
            if attempt == ATTEMPTS or not refused.passes:
                raise
            time.sleep(refused.after_s)


def watch(stub, metadata, run_id, seconds, seen):
    """Hands over every event of a run, each once and in order, and returns the run at its end. Where the stream breaks
    it goes on behind the last event that came. `seconds` is how long you want to follow the run."""
    deadline, following = time.monotonic() + seconds, 1
    while True:
        ended, pause_s = None, PAUSE_S
        request = pb.WatchRunRequest(run_id=run_id, from_seq=following)
        left = max(0, deadline - time.monotonic())
        try:
            for message in stub.WatchRun(request, timeout=left, metadata=metadata, wait_for_ready=True):
                for event in message.events:
                    seen(event)
                    following = event.seq + 1
                ended = message.run if message.HasField("run") else ended
        except grpc.RpcError as error:
            refused = Refusal(error)
            if ended is None and (time.monotonic() >= deadline or not refused.passes):
                raise
            pause_s = refused.after_s
        if ended is not None:
            return ended
        time.sleep(pause_s)


class Refusal:
    """What an error says to programs: its gRPC `code`; `reason`, a name of docs/ERRORS.md, empty if the control plane did
    not answer; `problems`, what is wrong with the workflow or request; whether the same request may succeed later
    (`passes`), and when (`after_s`)."""

    def __init__(self, error):
        self.code, self.reason, self.problems, self.after_s = error.code(), "", [], PAUSE_S
        self.passes = self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        status = rpc_status.from_call(error)
        for detail in status.details if status else []:
            info, bad, again = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                self.reason = info.reason
            elif detail.Unpack(bad):
                self.problems = list(bad.field_violations)
            elif detail.Unpack(again):  # the server has too much to do now
                self.passes, self.after_s = True, again.retry_delay.ToMilliseconds() / 1_000
        # Broken on the way: what the control plane answers has a reason.
        broken = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
        self.passes = self.passes or (not self.reason and self.code in broken)
# ----------------------------------------------------------------------------------------------------------------------


WRONG = "name: Wrong\ntasks:\n  - id: a\n    methd: util/echo\n  - {id: b, method: util/ecko}\n"


def show(event):
    print("event", event.seq, event.type, event.task_id, flush=True)


def run(stub, path):
    owner = authorized(os.environ.get("GLEITZEIT_TOKEN", ""))
    with open(path, encoding="utf-8") as file:
        request = pb.SubmitWorkflowRequest(request_id=str(uuid.uuid4()), yaml=file.read())
    first, again = submit(stub, owner, request), submit(stub, owner, request)
    print("submitted", first.run_id)
    print("again", again.run_id, again.duplicate, flush=True)

    ended = watch(stub, owner, first.run_id, 600, show)
    print("ended", run_pb2.RunStatus.Name(ended.status), ended.outputs_json)

    try:
        submit(stub, owner, pb.SubmitWorkflowRequest(yaml=WRONG))
    except grpc.RpcError as error:
        refused = Refusal(error)
        print("refused", refused.reason)
        for problem in refused.problems:
            print("problem", problem.field, problem.reason, problem.description)
    try:
        submit(stub, authorized("wrong"), request)
    except grpc.RpcError as error:
        refused = Refusal(error)
        print("stranger", refused.code.name, refused.reason)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: hello.py ADDRESS FILE, with the token in GLEITZEIT_TOKEN")
    with connect(sys.argv[1]) as channel:
        run(WorkflowServiceStub(channel), sys.argv[2])
