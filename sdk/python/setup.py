"""The fields of the distribution, from the one place where each stands."""

from __future__ import annotations

import pathlib
import sys

import setuptools

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def read(name: str) -> dict[str, dict]:
    """A file at the top of the repository."""
    path = ROOT / name
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SystemExit(
            f"{path} is missing: `sdk/python` is installed from within a checkout of the repository, and pip before 21.3 "
            "copies it elsewhere first\n\nhint: `python -m pip install --upgrade pip`, then again in the checkout"
        ) from error


project = read("pyproject.toml")["project"]
setuptools.setup(
    version=read("Cargo.toml")["workspace"]["package"]["version"],
    description=project["description"],
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=project["requires-python"],
    license_expression=project["license"],
    keywords=project["keywords"],
    classifiers=project["classifiers"],
    install_requires=project["dependencies"],
    extras_require=project["optional-dependencies"],
    project_urls=project["urls"],
)
