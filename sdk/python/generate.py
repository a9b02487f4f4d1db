"""Makes `src/gleitzeit/v1` from the `.proto` files: `python generate.py` (needs grpcio-tools of the version in
`pyproject.toml`: what it makes needs a protobuf at least as new as its own)."""

import pathlib
import sys

from grpc_tools import protoc

HERE = pathlib.Path(__file__).parent
PROTOS = HERE.parent.parent / "proto"


def generate(target: pathlib.Path) -> None:
    """Writes the modules into `target/gleitzeit/v1`."""
    files = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "gleitzeit" / "v1").glob("*.proto"))
    outputs = [f"--python_out={target}", f"--pyi_out={target}", f"--grpc_python_out={target}"]
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *outputs, *files]) != 0:
        sys.exit("the .proto files could not be compiled")


if __name__ == "__main__":
    generate(HERE / "src")
