"""Gleitzeit for Python: submit and follow workflows, build them in Python, and serve methods to them.

    from gleitzeit import Client

    run = Client().run("quickstart.yaml")
    print(run.outputs)
"""

from . import events, provider
from .aio import AsyncClient
from .client import Client
from .errors import GleitzeitError, Problem, RunFailed
from .models import Event, Explanation, Failure, Output, Run, Task, Waiting, WorkflowNote
from .workflow import Reference, TaskReference, Workflow, ref

__all__ = [
    "AsyncClient",
    "Client",
    "Event",
    "Explanation",
    "Failure",
    "GleitzeitError",
    "Output",
    "Problem",
    "Reference",
    "Run",
    "RunFailed",
    "Task",
    "TaskReference",
    "Waiting",
    "Workflow",
    "WorkflowNote",
    "events",
    "provider",
    "ref",
]
