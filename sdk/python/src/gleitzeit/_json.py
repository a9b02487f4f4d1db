"""Converts values to JSON text that a control plane accepts; an error names the place in the value."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Optional

#: How deeply lists and objects may be nested.
MAX_DEPTH = 128
#: How many values there may be, each counted wherever it occurs. Each takes at least a byte, and no control plane takes so many.
MAX_VALUES = 64 * 1024 * 1024
_PLAIN = re.compile(r"[A-Za-z0-9_-]+\Z")
#: How many characters of a path messages show.
_SHOWN_PATH = 120


def dumps(value: Any) -> str:
    """The JSON text of a value.

    Raises ValueError or TypeError, which names the place, for what JSON cannot hold or a control plane refuses: numbers
    that are not finite, whole numbers beyond 64 bits, half of a surrogate pair, more than 128 levels, and lists that hold each
    other so often that their text would have no end (`x = [x, x]`, thirty times).
    """
    _check(value)
    if _count(value, {}) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values, each counted wherever it occurs")
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _check(value: Any) -> None:
    # Without recursion, for values of any depth; places are only formatted for messages.
    # What occurs several times is looked into once, and again only where it lies deeper.
    pending: list[tuple[Any, tuple[Any, ...], int]] = [(value, (), 0)]
    depths: dict[int, int] = {}
    while pending:
        item, path, depth = pending.pop()
        if isinstance(item, (dict, list, tuple)):
            if depth == MAX_DEPTH:
                raise ValueError(f"{_place(path)}nested deeper than the limit of {MAX_DEPTH} levels")
            if depths.get(id(item), -1) >= depth:
                continue
            depths[id(item)] = depth
            inner = item.items() if isinstance(item, dict) else enumerate(item)
            for key, field in inner:
                if isinstance(key, str) and (problem := _text_problem(key)) is not None:
                    raise ValueError(f"{_place(path)}a key: {problem}")
                pending.append((field, (path, key), depth + 1))
            continue
        problem = _problem(item)
        if problem is not None:
            raise ValueError(f"{_place(path)}{problem}")


def _count(value: Any, counts: dict[int, int]) -> int:
    """The number of values in one that `_check` accepted, so that it is nowhere deep."""
    if not isinstance(value, (dict, list, tuple)):
        return 1
    if id(value) not in counts:
        inner = value.values() if isinstance(value, dict) else value
        counts[id(value)] = 1 + sum(_count(item, counts) for item in inner)
    return counts[id(value)]


def _problem(item: Any) -> Optional[str]:
    if isinstance(item, float) and not math.isfinite(item):
        return f"{item} is no JSON; write None or text instead"
    if isinstance(item, int) and not -(2**63) <= item < 2**64:
        return "the whole number does not fit into 64 bits; send it as text"
    return _text_problem(item) if isinstance(item, str) else None


def _text_problem(text: str) -> Optional[str]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        return f"{half} is half of a surrogate pair (a lone surrogate), which is not Unicode text"
    return None


def _place(path: tuple[Any, ...]) -> str:
    steps: list[str] = []
    while path:
        path, key = path
        if isinstance(key, int):
            steps.append(f"[{key}]")
        elif _PLAIN.match(str(key)):
            steps.append(f".{key}")
        else:
            steps.append(f"[{ascii(str(key))}]")
    written = "".join(reversed(steps)).lstrip(".")
    shown = written if len(written) <= _SHOWN_PATH else written[:_SHOWN_PATH] + "…"
    return f"in `{shown}`: " if shown else ""
