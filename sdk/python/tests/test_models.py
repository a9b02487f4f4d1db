"""Messages from a control plane become plain values; an invalid one is an error."""

from __future__ import annotations

import datetime

import pytest

from gleitzeit import GleitzeitError, models
from gleitzeit.v1 import run_pb2


def test_a_time_is_read_in_utc_and_an_absent_one_is_none() -> None:
    event = run_pb2.RunEvent(type="task_ready")
    assert models.event(event).time is None
    event.time.seconds = 1
    assert models.event(event).time == datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(("seconds", "nanos"), [(2**62, 0), (1, -1), (1, 10**9)])
def test_a_time_that_cannot_be_represented_is_an_error(seconds: int, nanos: int) -> None:
    run = run_pb2.Run(status="RUN_STATUS_RUNNING")
    run.submitted_at.seconds, run.submitted_at.nanos = seconds, nanos
    with pytest.raises(GleitzeitError, match="`submitted_at` that is not a valid time") as raised:
        models.run(run)
    assert raised.value.name == "INTERNAL_ERROR" and not raised.value.is_worth_repeating
