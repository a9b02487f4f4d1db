"""The generated modules are those of the `.proto` files, and these alone are enough to use a control plane."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from conftest import ROOT, Plane

sys.path.insert(0, str(ROOT))
import generate  # noqa: E402

PLAIN = '''
import json, sys
sys.path.insert(0, sys.argv[1])
import grpc
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from gleitzeit.v1 import workflow_service_pb2 as pb, workflow_service_pb2_grpc as rpc

channel = grpc.insecure_channel(sys.argv[2])
stub = rpc.WorkflowServiceStub(channel)
yaml = "name: E\\ntasks:\\n  - {id: a, method: util/echo, parameters: {n: 1}}\\n"
runs = {stub.SubmitWorkflow(pb.SubmitWorkflowRequest(yaml=yaml, request_id="plain")).run_id for _ in range(2)}
assert len(runs) == 1, runs
seen, last = [], None
for message in stub.WatchRun(pb.WatchRunRequest(run_id=next(iter(runs)))):
    seen += [event.seq for event in message.events]
    last = message.run if message.HasField("run") else last
assert seen == list(range(1, len(seen) + 1)) and last.status == 2, (seen, last)
run = stub.GetRun(pb.GetRunRequest(run_id=next(iter(runs)))).run
assert json.loads(run.tasks[0].result_json) == {"n": 1}
try:
    stub.SubmitWorkflow(pb.SubmitWorkflowRequest(yaml="name: E\\ntasks:\\n  - {id: a, method: util/ecko}\\n"))
except grpc.RpcError as error:
    details = rpc_status.from_call(error).details
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert [d for d in details if d.Is(info.DESCRIPTOR)][0].Unpack(info)
    assert [d for d in details if d.Is(bad.DESCRIPTOR)][0].Unpack(bad)
    assert (info.domain, info.reason) == ("gleitzeit", "METHOD_NOT_FOUND"), info
    assert bad.field_violations[0].description.startswith("3:"), bad
else:
    raise AssertionError("it was accepted")
database = ProtoReflectionDescriptorDatabase(channel)
services = database.get_services()
assert "gleitzeit.v1.WorkflowService" in services, services
assert database.FindFileContainingSymbol("google.rpc.ErrorInfo").name == "google/rpc/error_details.proto"
'''


def test_the_generated_modules_are_current(tmp_path: pathlib.Path) -> None:
    generate.generate(tmp_path)
    made = {path.name: path.read_text() for path in (tmp_path / "gleitzeit" / "v1").iterdir()}
    folder = ROOT / "src" / "gleitzeit" / "v1"
    for name, text in made.items():
        assert (folder / name).read_text() == text, f"{name} is not current: run generate.py"


def test_grpcio_and_the_proto_files_are_enough(plane: Plane, tmp_path: pathlib.Path) -> None:
    generate.generate(tmp_path)
    (tmp_path / "plain.py").write_text(PLAIN)
    arguments = [sys.executable, "-I", str(tmp_path / "plain.py"), str(tmp_path), f"127.0.0.1:{plane.port}"]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
