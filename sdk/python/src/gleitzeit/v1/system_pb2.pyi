import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ComponentRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPONENT_ROLE_UNSPECIFIED: _ClassVar[ComponentRole]
    COMPONENT_ROLE_QUEUE: _ClassVar[ComponentRole]
    COMPONENT_ROLE_RESOLVER: _ClassVar[ComponentRole]
    COMPONENT_ROLE_ENGINE: _ClassVar[ComponentRole]
    COMPONENT_ROLE_PROVIDER: _ClassVar[ComponentRole]

class ComponentStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPONENT_STATUS_UNSPECIFIED: _ClassVar[ComponentStatus]
    COMPONENT_STATUS_CONNECTED: _ClassVar[ComponentStatus]
    COMPONENT_STATUS_SILENT: _ClassVar[ComponentStatus]
    COMPONENT_STATUS_LOST: _ClassVar[ComponentStatus]

class HealthState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_STATE_UNSPECIFIED: _ClassVar[HealthState]
    HEALTH_STATE_HEALTHY: _ClassVar[HealthState]
    HEALTH_STATE_UNHEALTHY: _ClassVar[HealthState]
    HEALTH_STATE_STARTING: _ClassVar[HealthState]
COMPONENT_ROLE_UNSPECIFIED: ComponentRole
COMPONENT_ROLE_QUEUE: ComponentRole
COMPONENT_ROLE_RESOLVER: ComponentRole
COMPONENT_ROLE_ENGINE: ComponentRole
COMPONENT_ROLE_PROVIDER: ComponentRole
COMPONENT_STATUS_UNSPECIFIED: ComponentStatus
COMPONENT_STATUS_CONNECTED: ComponentStatus
COMPONENT_STATUS_SILENT: ComponentStatus
COMPONENT_STATUS_LOST: ComponentStatus
HEALTH_STATE_UNSPECIFIED: HealthState
HEALTH_STATE_HEALTHY: HealthState
HEALTH_STATE_UNHEALTHY: HealthState
HEALTH_STATE_STARTING: HealthState

class Component(_message.Message):
    __slots__ = ("component_id", "role", "name", "version", "status", "connected_since", "capacity", "in_use", "queues", "methods", "owned_shards", "owned_queues", "capabilities")
    COMPONENT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_SINCE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    IN_USE_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    OWNED_SHARDS_FIELD_NUMBER: _ClassVar[int]
    OWNED_QUEUES_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    component_id: str
    role: ComponentRole
    name: str
    version: str
    status: ComponentStatus
    connected_since: _timestamp_pb2.Timestamp
    capacity: int
    in_use: int
    queues: _containers.RepeatedScalarFieldContainer[str]
    methods: _containers.RepeatedScalarFieldContainer[str]
    owned_shards: _containers.RepeatedScalarFieldContainer[int]
    owned_queues: _containers.RepeatedScalarFieldContainer[str]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, component_id: _Optional[str] = ..., role: _Optional[_Union[ComponentRole, str]] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., status: _Optional[_Union[ComponentStatus, str]] = ..., connected_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., capacity: _Optional[int] = ..., in_use: _Optional[int] = ..., queues: _Optional[_Iterable[str]] = ..., methods: _Optional[_Iterable[str]] = ..., owned_shards: _Optional[_Iterable[int]] = ..., owned_queues: _Optional[_Iterable[str]] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class Provider(_message.Message):
    __slots__ = ("name", "component_id", "status", "protocols", "methods", "health", "health_reason", "in_flight", "capacity", "capabilities", "slow", "address")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    HEALTH_REASON_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    SLOW_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    name: str
    component_id: str
    status: ComponentStatus
    protocols: _containers.RepeatedScalarFieldContainer[str]
    methods: _containers.RepeatedScalarFieldContainer[str]
    health: HealthState
    health_reason: str
    in_flight: int
    capacity: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    slow: bool
    address: str
    def __init__(self, name: _Optional[str] = ..., component_id: _Optional[str] = ..., status: _Optional[_Union[ComponentStatus, str]] = ..., protocols: _Optional[_Iterable[str]] = ..., methods: _Optional[_Iterable[str]] = ..., health: _Optional[_Union[HealthState, str]] = ..., health_reason: _Optional[str] = ..., in_flight: _Optional[int] = ..., capacity: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., slow: bool = ..., address: _Optional[str] = ...) -> None: ...

class Protocol(_message.Message):
    __slots__ = ("name", "version", "methods")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    methods: _containers.RepeatedCompositeFieldContainer[ProtocolMethod]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., methods: _Optional[_Iterable[_Union[ProtocolMethod, _Mapping]]] = ...) -> None: ...

class ProtocolMethod(_message.Message):
    __slots__ = ("name", "description", "parameters_schema_json", "returns_schema_json", "timeout")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    RETURNS_SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    parameters_schema_json: str
    returns_schema_json: str
    timeout: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., parameters_schema_json: _Optional[str] = ..., returns_schema_json: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RunCounts(_message.Message):
    __slots__ = ("running", "completed", "failed", "cancelled")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    running: int
    completed: int
    failed: int
    cancelled: int
    def __init__(self, running: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ...) -> None: ...

class ComponentCounts(_message.Message):
    __slots__ = ("queue", "resolver", "engine", "provider")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    RESOLVER_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    queue: int
    resolver: int
    engine: int
    provider: int
    def __init__(self, queue: _Optional[int] = ..., resolver: _Optional[int] = ..., engine: _Optional[int] = ..., provider: _Optional[int] = ...) -> None: ...
