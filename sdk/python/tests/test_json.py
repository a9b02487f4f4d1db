"""Values are written as JSON that a control plane accepts, or refused with their place."""

from typing import Any

import pytest

from gleitzeit import _json


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_valid_values_are_written_unchanged() -> None:
    value = {"a": [2**64 - 1, -(2**63), True, None, 0.5, "é🎉"], "": {}}
    assert _json.dumps(value) == '{"a": [18446744073709551615, -9223372036854775808, true, null, 0.5, "é🎉"], "": {}}'
    assert _json.dumps(nested(128)) == "[" * 128 + "]" * 128


@pytest.mark.parametrize(
    "value, said",
    [
        ({"a": [1, float("nan")]}, "in `a[1]`: nan is no JSON"),
        (float("-inf"), "-inf is no JSON"),
        ({"x y": 2**64}, "in `['x y']`: the whole number does not fit into 64 bits; send it as text"),
        ({"a": -(2**63) - 1}, "in `a`: the whole number"),
        ({"t": "x\ud83c"}, r"in `t`: \ud83c is half of a surrogate pair"),
        ({"\ud83c": 1}, r"a key: \ud83c is half of a surrogate pair"),
        (nested(129), "nested deeper than the limit of 128 levels"),
        (nested(100_000), "nested deeper than the limit of 128 levels"),
        ({"a": object()}, "not JSON serializable"),
    ],
)
def test_invalid_values_are_refused_with_their_place(value: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        _json.dumps(value)
    assert said in str(refused.value)


def test_a_cyclic_value_is_too_deep() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="128 levels"):
        _json.dumps(value)


def test_lists_that_hold_each_other_often_are_refused_at_once() -> None:
    value: list[object] = []
    for _ in range(100):
        value = [value, value]
    with pytest.raises(ValueError, match="more than 67108864 values, each counted wherever it occurs"):
        _json.dumps(value)
    # Not because something occurs twice.
    part = {"n": [1, 2]}
    assert _json.dumps([part, {"deeper": part}]) == '[{"n": [1, 2]}, {"deeper": {"n": [1, 2]}}]'


def test_what_occurs_twice_is_too_deep_where_it_lies_deepest() -> None:
    part: list[object] = []
    for _ in range(100):
        part = [part]
    deep: list[object] = [part]
    for _ in range(30):
        deep = [deep]
    assert _json.dumps([part, 1])
    with pytest.raises(ValueError, match="nested deeper than the limit of 128 levels"):
        _json.dumps([part, deep])
    with pytest.raises(ValueError, match="nested deeper than the limit of 128 levels"):
        _json.dumps([deep, part])
