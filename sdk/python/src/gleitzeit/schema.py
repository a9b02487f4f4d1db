"""JSON Schemas from type hints."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from typing import Any, Callable, Literal, Union

Schema = dict[str, Any]
_PLAIN: dict[Any, Schema] = {
    Any: {},
    inspect.Parameter.empty: {},
    object: {},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    None: {"type": "null"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    dict: {"type": "object"},
}
_UNIONS = {Union, getattr(types, "UnionType", Union)}


def of_method(function: Callable[..., Any]) -> Schema:
    """The schemas of a function's parameters, by name, and of its result."""
    hints = typing.get_type_hints(function)
    properties: dict[str, Schema] = {}
    required, is_open = [], False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            is_open = True
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise TypeError(f"`{function.__name__}` takes `{name}` by its place; parameters of a method have names")
        properties[name] = dict(of_type(hints.get(name, Any), f"`{name}` of `{function.__name__}`"))
        if parameter.default is parameter.empty:
            required.append(name)
        else:
            properties[name]["default"] = parameter.default
    parameters: Schema = {"type": "object", "properties": properties, "additionalProperties": is_open}
    if required:
        parameters["required"] = required
    method = {"parameters": parameters, "returns": of_type(hints.get("return", Any), f"`{function.__name__}`")}
    description = inspect.getdoc(function)
    return {**method, "description": description} if description else method


def of_type(hint: Any, what: str) -> Schema:
    """The schema of a type; the error for a type without one names ``what``."""
    plain = _PLAIN.get(hint) if isinstance(hint, typing.Hashable) else None
    if plain is not None:
        return plain
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in _UNIONS:
        return {"anyOf": [of_type(it, what) for it in arguments]}
    if origin is tuple and (len(arguments) != 2 or arguments[1] is not Ellipsis):
        items = [of_type(it, what) for it in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (list, tuple) or _is(origin, "Sequence", "Iterable"):
        return {"type": "array", "items": of_type(arguments[0], what)}
    if (origin is dict or _is(origin, "Mapping")) and arguments[0] is str:
        return {"type": "object", "additionalProperties": of_type(arguments[1], what)}
    if typing.is_typeddict(hint) if hasattr(typing, "is_typeddict") else hasattr(hint, "__total__"):
        return _object(typing.get_type_hints(hint), sorted(hint.__required_keys__), what)
    if dataclasses.is_dataclass(hint):
        missing = dataclasses.MISSING
        fields = dataclasses.fields(hint)
        required = [it.name for it in fields if it.default is missing and it.default_factory is missing]
        return _object(typing.get_type_hints(hint), required, what)
    raise TypeError(f"{what} has the type `{hint}`, which JSON does not have; use plain types, dicts, lists or dataclasses")


def _object(hints: dict[str, Any], required: list[str], what: str) -> Schema:
    properties = {name: of_type(hint, what) for name, hint in hints.items()}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _is(origin: Any, *names: str) -> bool:
    return getattr(origin, "__module__", "") == "collections.abc" and getattr(origin, "__name__", "") in names
