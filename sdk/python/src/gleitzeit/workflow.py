"""Workflows as Python: tasks are made one after the other, and refer to each other's results.

    wf = Workflow("essay", inputs={"topic": "time"})
    outline = wf.task("llm/chat", messages=[{"role": "user", "content": f"Outline {wf.input('topic')}"}])
    wf.task("python/execute", code=f"result = len({outline.response}.split())")
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterable, Mapping, Optional, Union

from .errors import GleitzeitError

_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_RESERVED = {"inputs", "env", "files", "run"}
#: Fields of a task that are not its parameters; a parameter of such a name goes into ``parameters``.
_FIELDS = ("provider", "queue", "priority", "timeout", "retry")


class Reference:
    """A place in the workflow's data: ``${...}`` once it is written. Fields and items of it are references too."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("_"):
            raise AttributeError(name)
        return Reference(f"{self._path}.{name}")

    def __getitem__(self, key: Union[str, int]) -> Reference:
        return Reference(f"{self._path}[{key}]" if isinstance(key, int) else f"{self._path}.{key}")

    def __str__(self) -> str:
        return f"${{{self._path}}}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def __iter__(self) -> Any:
        raise TypeError(f"{self} has no value yet: it is known only while the workflow runs")


class TaskReference(Reference):
    """A task of a workflow, and its result."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self._task_id = task_id

    def __repr__(self) -> str:
        return f"<task {self._task_id}>"


After = Union[str, TaskReference, Iterable[Union[str, TaskReference]], None]


class Workflow:
    """A workflow that is put together in Python. ``str(workflow)`` is its YAML (which is JSON)."""

    def __init__(
        self,
        name: str,
        *,
        inputs: Optional[Mapping[str, Any]] = None,
        files: Optional[Mapping[str, str]] = None,
        labels: Optional[Mapping[str, str]] = None,
        description: Optional[str] = None,
        timeout: Union[float, str, None] = None,
    ) -> None:
        self.name = name
        self._inputs = dict(inputs or {})
        self._files = dict(files or {})
        self._fields = {"labels": dict(labels or {}), "description": description, "timeout": timeout}
        self._tasks: dict[str, dict[str, Any]] = {}
        self._outputs: dict[str, Any] = {}

    def input(self, name: str) -> Reference:
        """A declared input."""
        if name not in self._inputs:
            raise GleitzeitError(f"the workflow declares no input `{name}`", code=-32602, name="INVALID_PARAMS")
        return Reference(f"inputs.{name}")

    def file(self, name: str) -> Reference:
        """A declared file's text; its ``base64`` are its bytes."""
        if name not in self._files:
            raise GleitzeitError(f"the workflow declares no file `{name}`", code=-32602, name="INVALID_PARAMS")
        return Reference(f"files.{name}")

    def task(
        self,
        method: str,
        *,
        id: Optional[str] = None,
        after: After = None,
        parameters: Optional[Mapping[str, Any]] = None,
        provider: Optional[str] = None,
        queue: Optional[str] = None,
        priority: Union[int, str, None] = None,
        timeout: Union[float, str, None] = None,
        retry: Optional[Mapping[str, Any]] = None,
        **more: Any,
    ) -> TaskReference:
        """Adds a task that calls ``method`` with ``parameters`` and what else is named.

        ``after`` names tasks that must have completed although their results are not used. Without an ``id`` it is
        called after its method. Only providers of the name ``provider`` may serve it, if that is given.
        """
        task_id = id if id is not None else self._free_id(method)
        if not _ID.match(task_id) or task_id in _RESERVED or task_id in self._tasks:
            why = "is used already" if task_id in self._tasks else "is no task's id"
            raise GleitzeitError(f"`{task_id}` {why}", code=-32602, name="INVALID_PARAMS")
        dependencies = [after] if isinstance(after, (str, TaskReference)) else list(after or ())
        task: dict[str, Any] = {"id": task_id, "method": method}
        task.update(zip(_FIELDS, (provider, queue, priority, timeout, retry)))
        task["dependencies"] = [it._task_id if isinstance(it, TaskReference) else it for it in dependencies]
        task["parameters"] = written({**(parameters or {}), **more})
        self._tasks[task_id] = {name: value for name, value in task.items() if value is not None and value != []}
        return TaskReference(task_id)

    def output(self, name: str, value: Any) -> None:
        """Declares what the run returns under a name."""
        self._outputs[name] = written(value)

    def to_dict(self) -> dict[str, Any]:
        """The workflow as it would stand in a file."""
        fields: dict[str, Any] = {"name": self.name, **self._fields, "inputs": self._inputs, "files": self._files}
        fields.update(tasks=list(self._tasks.values()), outputs=self._outputs)
        return {name: value for name, value in fields.items() if value is not None and value != {}}

    def __str__(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def __repr__(self) -> str:
        return f"<workflow {self.name}: {', '.join(self._tasks) or 'no tasks'}>"

    def _free_id(self, method: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_-]", "_", method.rsplit("/", 1)[-1])
        base = base if _ID.match(base) and base not in _RESERVED else f"task_{base}"
        taken = (f"{base}_{number}" for number in range(2, len(self._tasks) + 3))
        return next(name for name in (base, *taken) if name not in self._tasks)


def written(value: Any) -> Any:
    """A value with its references as ``${...}``."""
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): written(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [written(item) for item in value]
    return value
