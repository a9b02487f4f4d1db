import datetime

from gleitzeit.v1 import run_pb2 as _run_pb2
from gleitzeit.v1 import trace_pb2 as _trace_pb2
from gleitzeit.v1 import workflow_pb2 as _workflow_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitWorkflowRequest(_message.Message):
    __slots__ = ("request_id", "yaml", "workflow", "inputs_json", "files", "labels", "file_name")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    YAML_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    INPUTS_JSON_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    yaml: str
    workflow: _workflow_pb2.Workflow
    inputs_json: str
    files: _containers.ScalarMap[str, bytes]
    labels: _containers.ScalarMap[str, str]
    file_name: str
    def __init__(self, request_id: _Optional[str] = ..., yaml: _Optional[str] = ..., workflow: _Optional[_Union[_workflow_pb2.Workflow, _Mapping]] = ..., inputs_json: _Optional[str] = ..., files: _Optional[_Mapping[str, bytes]] = ..., labels: _Optional[_Mapping[str, str]] = ..., file_name: _Optional[str] = ...) -> None: ...

class SubmitWorkflowResponse(_message.Message):
    __slots__ = ("run_id", "correlation_id", "status", "duplicate", "notes")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    correlation_id: str
    status: _run_pb2.RunStatus
    duplicate: bool
    notes: _containers.RepeatedCompositeFieldContainer[_workflow_pb2.Note]
    def __init__(self, run_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., status: _Optional[_Union[_run_pb2.RunStatus, str]] = ..., duplicate: bool = ..., notes: _Optional[_Iterable[_Union[_workflow_pb2.Note, _Mapping]]] = ...) -> None: ...

class ValidateWorkflowRequest(_message.Message):
    __slots__ = ("yaml", "workflow", "file_name")
    YAML_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    yaml: str
    workflow: _workflow_pb2.Workflow
    file_name: str
    def __init__(self, yaml: _Optional[str] = ..., workflow: _Optional[_Union[_workflow_pb2.Workflow, _Mapping]] = ..., file_name: _Optional[str] = ...) -> None: ...

class ValidateWorkflowResponse(_message.Message):
    __slots__ = ("problems", "problem_count", "notes")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[_workflow_pb2.Problem]
    problem_count: int
    notes: _containers.RepeatedCompositeFieldContainer[_workflow_pb2.Note]
    def __init__(self, problems: _Optional[_Iterable[_Union[_workflow_pb2.Problem, _Mapping]]] = ..., problem_count: _Optional[int] = ..., notes: _Optional[_Iterable[_Union[_workflow_pb2.Note, _Mapping]]] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("run_id", "wait", "include_results")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RESULTS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    wait: _duration_pb2.Duration
    include_results: bool
    def __init__(self, run_id: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., include_results: bool = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: _run_pb2.Run
    def __init__(self, run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("statuses", "name", "labels", "submitted_after", "submitted_before", "run_id_prefix", "page_size", "page_token")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AFTER_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    statuses: _containers.RepeatedScalarFieldContainer[_run_pb2.RunStatus]
    name: str
    labels: _containers.ScalarMap[str, str]
    submitted_after: _timestamp_pb2.Timestamp
    submitted_before: _timestamp_pb2.Timestamp
    run_id_prefix: str
    page_size: int
    page_token: str
    def __init__(self, statuses: _Optional[_Iterable[_Union[_run_pb2.RunStatus, str]]] = ..., name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., submitted_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., submitted_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., run_id_prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[_run_pb2.RunSummary]
    next_page_token: str
    def __init__(self, runs: _Optional[_Iterable[_Union[_run_pb2.RunSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("run_id", "statuses", "task_ids", "include_results", "page_size", "page_token", "include_dependencies")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RESULTS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DEPENDENCIES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    statuses: _containers.RepeatedScalarFieldContainer[_run_pb2.TaskStatus]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    include_results: bool
    page_size: int
    page_token: str
    include_dependencies: bool
    def __init__(self, run_id: _Optional[str] = ..., statuses: _Optional[_Iterable[_Union[_run_pb2.TaskStatus, str]]] = ..., task_ids: _Optional[_Iterable[str]] = ..., include_results: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., include_dependencies: bool = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_run_pb2.TaskRun]
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[_run_pb2.TaskRun, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("run_id", "from_seq", "include_progress", "include_progress_so_far")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PROGRESS_SO_FAR_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    from_seq: int
    include_progress: bool
    include_progress_so_far: bool
    def __init__(self, run_id: _Optional[str] = ..., from_seq: _Optional[int] = ..., include_progress: bool = ..., include_progress_so_far: bool = ...) -> None: ...

class WatchRunResponse(_message.Message):
    __slots__ = ("events", "run")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_run_pb2.RunEvent]
    run: _run_pb2.Run
    def __init__(self, events: _Optional[_Iterable[_Union[_run_pb2.RunEvent, _Mapping]]] = ..., run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ...) -> None: ...

class ExplainRunRequest(_message.Message):
    __slots__ = ("run_id", "task_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    task_id: str
    def __init__(self, run_id: _Optional[str] = ..., task_id: _Optional[str] = ...) -> None: ...

class ExplainRunResponse(_message.Message):
    __slots__ = ("run_id", "name", "status", "waiting", "error", "tasks", "more_tasks", "dependent_tasks")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    MORE_TASKS_FIELD_NUMBER: _ClassVar[int]
    DEPENDENT_TASKS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    name: str
    status: _run_pb2.RunStatus
    waiting: _run_pb2.Waiting
    error: _run_pb2.Error
    tasks: _containers.RepeatedCompositeFieldContainer[_run_pb2.TaskRun]
    more_tasks: int
    dependent_tasks: int
    def __init__(self, run_id: _Optional[str] = ..., name: _Optional[str] = ..., status: _Optional[_Union[_run_pb2.RunStatus, str]] = ..., waiting: _Optional[_Union[_run_pb2.Waiting, _Mapping]] = ..., error: _Optional[_Union[_run_pb2.Error, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[_run_pb2.TaskRun, _Mapping]]] = ..., more_tasks: _Optional[int] = ..., dependent_tasks: _Optional[int] = ...) -> None: ...

class CancelRunRequest(_message.Message):
    __slots__ = ("run_id", "reason", "force")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    force: bool
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ..., force: bool = ...) -> None: ...

class CancelRunResponse(_message.Message):
    __slots__ = ("status", "open_attempts")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OPEN_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    status: _run_pb2.RunStatus
    open_attempts: int
    def __init__(self, status: _Optional[_Union[_run_pb2.RunStatus, str]] = ..., open_attempts: _Optional[int] = ...) -> None: ...

class RetryRunRequest(_message.Message):
    __slots__ = ("run_id", "request_id", "all")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    request_id: str
    all: bool
    def __init__(self, run_id: _Optional[str] = ..., request_id: _Optional[str] = ..., all: bool = ...) -> None: ...

class RetryRunResponse(_message.Message):
    __slots__ = ("run_id", "correlation_id", "status", "duplicate")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    correlation_id: str
    status: _run_pb2.RunStatus
    duplicate: bool
    def __init__(self, run_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., status: _Optional[_Union[_run_pb2.RunStatus, str]] = ..., duplicate: bool = ...) -> None: ...

class TraceRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class TraceRunResponse(_message.Message):
    __slots__ = ("spans",)
    SPANS_FIELD_NUMBER: _ClassVar[int]
    spans: _containers.RepeatedCompositeFieldContainer[_trace_pb2.Span]
    def __init__(self, spans: _Optional[_Iterable[_Union[_trace_pb2.Span, _Mapping]]] = ...) -> None: ...

class ReadProgressRequest(_message.Message):
    __slots__ = ("run_id", "task_ids")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., task_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ReadProgressResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_run_pb2.RunEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[_run_pb2.RunEvent, _Mapping]]] = ...) -> None: ...
