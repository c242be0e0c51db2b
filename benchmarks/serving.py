"""The load that a served translator bears: `python -m benchmarks.serving --model SAVED_MODEL`.

It starts the server, asks with one client in sequence, and then with several at the same time, all
on connections that stay open. Exit code 1 if a request is lost or a bound is missed. The bounds are
for 8 clients and 40,000 requests: with fewer, memory still grows to what it stays at.
"""

import argparse
import http.client
import json
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

# At least so many times one by one; at most so many MiB more memory in the second half. In the
# first one TensorFlow's and the allocator's reserves fill up.
FASTER, GROWTH = 4, 16
WORDS = ["one", "two", "three", "red", "black", "cat", "dog", ",", "woman", "detective", "flag"]


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="an exported translator")
    parser.add_argument("--requests", type=int, default=40_000, help="by all clients together")
    parser.add_argument("--clients", type=int, default=8)
    settings = parser.parse_args(arguments)
    command = [sys.executable, "-m", "examples.translation", "serve", "--port", "0"]
    server = subprocess.Popen(
        [*command, "--model", str(settings.model)], stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(re.search(r"127\.0\.0\.1:(\d+)", server.stdout.readline())[1])
        found = measure(server.pid, port, settings.requests, settings.clients)
    finally:
        server.send_signal(signal.SIGINT)
        code = server.wait(30)
    missed = [
        line
        for holds, line in (
            (found["lost"] == 0, f"{found['lost']} requests were lost"),
            (found["times"] >= FASTER, f"expected {FASTER} times as many per second"),
            (
                found["growth_mib"] <= GROWTH,
                f"expected growth of at most {GROWTH} MiB",
            ),
            (code == 0, f"the server ended with exit code {code}"),
        )
        if not holds
    ]
    print(json.dumps(found, indent=1))
    if missed:
        raise SystemExit("; ".join(missed))


def measure(pid: int, port: int, requests: int, clients: int) -> dict:
    """The rates, latencies, losses and memory of both loads."""
    memory = [resident(pid)]
    alone, lost_alone, seconds_alone = ask_all(port, max(requests // 10, 100), 1)
    times, lost, seconds = [], lost_alone, 0.0
    for half in (requests - requests // 2, requests // 2):
        more, lost_too, seconds_too = ask_all(port, half, clients)
        times, lost, seconds = times + more, lost + lost_too, seconds + seconds_too
        memory.append(resident(pid))
    rates = len(alone) / seconds_alone, len(times) / seconds
    return {
        "requests": requests,
        "clients": clients,
        "lost": lost,
        "one_by_one": {"per_second": round(rates[0], 1), **latency(alone)},
        "together": {"per_second": round(rates[1], 1), **latency(times)},
        "times": round(rates[1] / rates[0], 2),
        "resident_mib": {
            name: round(each, 1)
            for name, each in zip(("before", "halfway", "after"), memory, strict=True)
        },
        "growth_mib": round(memory[2] - memory[1], 1),
    }


def ask_all(port: int, requests: int, clients: int) -> tuple[list[float], int, float]:
    """The milliseconds of each answer, how many were none, and the seconds of all."""
    times: list[float] = []
    lost: list[str] = []
    shares = [requests // clients + (i < requests % clients) for i in range(clients)]
    threads = [
        threading.Thread(target=ask, args=(port, share, seed, times, lost))
        for seed, share in enumerate(shares)
    ]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, len(lost), time.perf_counter() - start


def ask(port: int, requests: int, seed: int, times: list[float], lost: list[str]) -> None:
    """One client; it asks again when it has its answer."""
    chooser = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(requests):
        text = " ".join(chooser.choices(WORDS, k=chooser.randint(2, 8)))
        start = time.perf_counter()
        try:
            connection.request(
                "POST", "/v1/models/translator:predict", json.dumps({"instances": [text]})
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            lost.append(repr(error))
            connection.close()
            continue
        if response.status == 200 and b'"text"' in body:
            times.append(1000 * (time.perf_counter() - start))
        else:
            lost.append(body.decode())
    connection.close()


def latency(times: list[float]) -> dict:
    percentiles = statistics.quantiles(times, n=100)
    return {"median_ms": round(percentiles[49], 1), "p99_ms": round(percentiles[98], 1)}


def resident(pid: int) -> float:
    """The resident memory of a process, in MiB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


if __name__ == "__main__":
    main()
