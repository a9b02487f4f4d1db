"""Drives W1 to W4 on Restate over its ingress."""

import http.client
import json
import os
import sys
import threading
import time

PORT = int(os.environ["BENCH_INGRESS_PORT"])
local = threading.local()


def call(path, value):
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    local.connection.request("POST", path, json.dumps(value), {"content-type": "application/json"})
    answer = local.connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {text!r}")
    return json.loads(text)


def many(count):
    left = iter(range(count))
    lock = threading.Lock()
    failed = []

    def work():
        while True:
            with lock:
                number = next(left, None)
            if number is None or failed:
                return
            try:
                call("/Tasks/echo", number)
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(min(64, count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def measure(repeats, latency, throughput, length, width):
    for _ in range(20):
        call("/Tasks/echo", 1)
    found = {"w1_p50": [], "w1_p99": [], "w2": [], "w3": [], "w4": []}
    for _ in range(repeats):
        times = []
        for _ in range(latency):
            started = time.perf_counter()
            call("/Tasks/echo", 1)
            times.append((time.perf_counter() - started) * 1000)
        times.sort()
        found["w1_p50"].append(times[len(times) // 2])
        found["w1_p99"].append(times[min(len(times) - 1, len(times) * 99 // 100)])
        started = time.perf_counter()
        many(throughput)
        found["w2"].append(throughput / (time.perf_counter() - started))
        started = time.perf_counter()
        call("/Flows/chain", length)
        found["w3"].append((time.perf_counter() - started) * 1000 / length)
        started = time.perf_counter()
        call("/Flows/wide", width)
        found["w4"].append((width + 1) / (time.perf_counter() - started))
    return found


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
