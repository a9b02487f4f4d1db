"""A list of the parts of the program, as CycloneDX, from what `cargo metadata --locked --filter-platform PLATFORM` prints."""

import json
import sys
from typing import Any


def parts(metadata: Any) -> list[dict[str, Any]]:
    """What the program is linked of: reached from it by dependencies that are neither for tests nor for building."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    (root,) = [name for name, package in packages.items() if package["name"] == "gleitzeit"]
    open_nodes, reached = [root], set[str]()
    while open_nodes:
        name = open_nodes.pop()
        if name in reached:
            continue
        reached.add(name)
        for dependency in nodes[name]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                open_nodes.append(dependency["pkg"])
    reached.remove(root)
    return sorted((packages[name] for name in reached), key=lambda package: (package["name"], package["version"]))


def document(metadata: Any) -> dict[str, Any]:
    (root,) = [package for package in metadata["packages"] if package["name"] == "gleitzeit"]

    def component(package: dict[str, Any], kind: str) -> dict[str, Any]:
        name, version = package["name"], package["version"]
        found: dict[str, Any] = {"type": kind, "bom-ref": f"{name}@{version}", "name": name, "version": version}
        # Those of this repository have no source.
        if package["source"]:
            found["purl"] = f"pkg:cargo/{name}@{version}"
        if package["license"]:
            found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        return found

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, "application")},
        "components": [component(package, "library") for package in parts(metadata)],
    }


if __name__ == "__main__":
    json.dump(document(json.load(sys.stdin)), sys.stdout, indent=1)
    print()
