"""W1 to W4 on Celery with Redis: tasks and driver in one file. The worker imports it as a module."""

import json
import os
import sys
import time

from celery import Celery, chain, chord

URL = os.environ["BENCH_REDIS_URL"]
app = Celery("celery_bench", broker=URL, backend=URL)
app.conf.update(task_serializer="json", result_serializer="json", accept_content=["json"], worker_prefetch_multiplier=16)


@app.task
def echo(value=None):
    return value


@app.task
def join(values):
    return len(values)


def measure(repeats, latency, throughput, length, width):
    for _ in range(20):
        echo.delay(1).get(timeout=60)
    found = {"w1_p50": [], "w1_p99": [], "w2": [], "w3": [], "w4": []}
    for _ in range(repeats):
        times = []
        for _ in range(latency):
            started = time.perf_counter()
            echo.delay(1).get(timeout=60, interval=0.0005)
            times.append((time.perf_counter() - started) * 1000)
        times.sort()
        found["w1_p50"].append(times[len(times) // 2])
        found["w1_p99"].append(times[min(len(times) - 1, len(times) * 99 // 100)])
        started = time.perf_counter()
        open_results = []
        for _ in range(throughput):
            if len(open_results) == 64:
                open_results.pop(0).get(timeout=60, interval=0.0005)
            open_results.append(echo.delay(1))
        for result in open_results:
            result.get(timeout=60, interval=0.0005)
        found["w2"].append(throughput / (time.perf_counter() - started))
        started = time.perf_counter()
        chain(echo.s(1), *[echo.s() for _ in range(length - 1)]).apply_async().get(timeout=60, interval=0.0005)
        found["w3"].append((time.perf_counter() - started) * 1000 / length)
        started = time.perf_counter()
        chord([echo.s(n) for n in range(width)])(join.s()).get(timeout=60, interval=0.0005)
        found["w4"].append((width + 1) / (time.perf_counter() - started))
    return found


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
