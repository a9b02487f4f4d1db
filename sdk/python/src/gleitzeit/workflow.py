"""Builds workflows in Python: tasks are added one after the other, and refer to each other's results.

    wf = Workflow("essay", inputs={"topic": "time"})
    outline = wf.task("llm/chat", messages=[{"role": "user", "content": f"Outline {wf.input('topic')}"}])
    wf.task("python/execute", code=f"result = len({outline.response}.split())")

Only ``Reference`` objects are references: all other text reaches its task unchanged, even if it contains ``${...}``.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any, Iterable, Mapping, Optional, Union

from .errors import GleitzeitError

_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_RESERVED = {"inputs", "env", "files", "run"}
#: Fields of a task that are not its parameters; a parameter with such a name goes into ``parameters``.
_FIELDS = ("provider", "queue", "priority", "timeout", "retry")


#: Ends a reference within text; random, so that no text can contain it by accident.
_MARK = f"#{secrets.token_hex(6)}"
_MARKED = re.compile(r"\$\{([^{}#]*)" + _MARK + r"\}")
_STEP = re.compile(r"[\w-]+\Z")
#: Characters that could be changed or misread inside text, such as JSON, are written there as their numbers.
_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-\[\]]")
_ESCAPED = re.compile(r"~([0-9a-f]+);")
#: Escapes in keys in brackets and quotes.
_QUOTED = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


class Reference:
    """A place in the workflow's data, written as ``${...}``. Its fields and items are references too.

    In text, such as an f-string, it becomes a marker that the workflow recognizes.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("_"):
            raise AttributeError(name)
        return Reference(f"{self._path}.{name}")

    def __getitem__(self, key: Union[str, int]) -> Reference:
        if isinstance(key, int):
            return Reference(f"{self._path}[{key}]")
        if _STEP.match(key):
            return Reference(f"{self._path}.{key}")
        return Reference(f"{self._path}['{key.translate(_QUOTED)}']")

    def __str__(self) -> str:
        safe = _UNSAFE.sub(lambda found: f"~{ord(found[0]):x};", self._path)
        return f"${{{safe}{_MARK}}}"

    def __add__(self, text: str) -> str:
        return f"{self}{text}"

    def __radd__(self, text: str) -> str:
        return f"{text}{self}"

    def __repr__(self) -> str:
        return f"<${{{self._path}}}>"

    def __iter__(self) -> Any:
        raise TypeError(f"{self!r} has no value yet: it is known only while the workflow runs")


class TaskReference(Reference):
    """A task of a workflow, and its result."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self._task_id = task_id

    def __repr__(self) -> str:
        return f"<task {self._task_id}>"


def ref(path: str) -> Reference:
    """A reference by its path, as written between ``${`` and ``}``: ``ref("task.field")``, ``ref("run.id")``."""
    if not path or set(path) & set("${}"):
        raise _invalid(f"`{path}` is not a reference; expected a path such as `task.field`, without `${{` and `}}`")
    return Reference(path)


After = Union[str, TaskReference, Iterable[Union[str, TaskReference]], None]


class Workflow:
    """A workflow built in Python. ``str(workflow)`` is its YAML (which is JSON)."""

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
        self.name = _plain(name, "the name")
        self._inputs = _plain(dict(inputs or {}), "the inputs' defaults")
        self._files = _plain(dict(files or {}), "the files")
        fields = {"labels": dict(labels or {}), "description": description, "timeout": timeout}
        self._fields: dict[str, Any] = _plain(fields, "the workflow's own fields")
        self._tasks: dict[str, dict[str, Any]] = {}
        self._outputs: dict[str, Any] = {}

    def input(self, name: str) -> Reference:
        """A declared input."""
        if name not in self._inputs:
            raise _invalid(f"the workflow declares no input `{name}`")
        return Reference(f"inputs.{name}")

    def file(self, name: str) -> Reference:
        """A declared file's text; its ``base64`` field holds its bytes."""
        if name not in self._files:
            raise _invalid(f"the workflow declares no file `{name}`")
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
        """Adds a task that calls ``method`` with ``parameters`` and all further keyword arguments.

        ``after`` names tasks that must have completed although their results are not used. Without an ``id`` the task
        is named after its method. If ``provider`` is given, only providers with that name may serve it.
        """
        task_id = id if id is not None else self._free_id(method)
        if not _ID.match(task_id) or task_id in _RESERVED or task_id in self._tasks:
            why = "is already used" if task_id in self._tasks else "is not a valid task id"
            raise _invalid(f"`{task_id}` {why}")
        dependencies = [after] if isinstance(after, (str, TaskReference)) else list(after or ())
        task: dict[str, Any] = {"id": task_id, "method": method}
        task.update(zip(_FIELDS, (provider, queue, priority, timeout, retry)))
        task = _plain(task, f"`{task_id}`, but for its parameters,")
        task["dependencies"] = [it._task_id if isinstance(it, TaskReference) else it for it in dependencies]
        task["parameters"] = written({**(parameters or {}), **more})
        self._tasks[task_id] = {name: value for name, value in task.items() if value is not None and value != []}
        return TaskReference(task_id)

    def output(self, name: str, value: Any) -> None:
        """Declares an output of the run."""
        self._outputs[name] = written(value)

    def to_dict(self) -> dict[str, Any]:
        """The workflow in the form of a file."""
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
    """A value in a workflow's notation: its references as ``${...}``, and text that looks like one escaped."""
    if isinstance(value, Reference):
        return f"${{{value._path}}}"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_plain(str(key), "a key"): written(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [written(item) for item in value]
    return value


def _text(text: str) -> str:
    pieces, at = [], 0
    for found in _MARKED.finditer(text):
        path = _ESCAPED.sub(lambda step: chr(int(step[1], 16)), found[1])
        pieces += [_escaped(text[at : found.start()], is_before_reference=True), f"${{{path}}}"]
        at = found.end()
    return "".join([*pieces, _escaped(text[at:], is_before_reference=False)])


def _escaped(text: str, is_before_reference: bool) -> str:
    """Escapes text so that it stays text: two dollars before a brace stand for one."""
    before = r"\{|\Z" if is_before_reference else r"\{"
    return re.sub(rf"(?<!\$)\$+(?={before})", lambda dollars: dollars[0] * 2, text)


def _plain(value: Any, what: str) -> Any:
    """The same value, in a place where references are not allowed."""
    if isinstance(value, Reference) or (isinstance(value, str) and _MARKED.search(value)):
        raise _invalid(f"{what} cannot hold a reference: only parameters of tasks and outputs can")
    if isinstance(value, Mapping):
        for item in (*value.keys(), *value.values()):
            _plain(item, what)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _plain(item, what)
    return value


def _invalid(message: str) -> GleitzeitError:
    return GleitzeitError(message, code=-32602, name="INVALID_PARAMS")
