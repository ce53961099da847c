#!/usr/bin/env python3
"""Ten times what the workers can do, for minutes. One instance of 32 slots whose answers take 100 ms
(320 a second) is offered 3,200 requests a second at even distances. Printed are the goodput beside
that capacity, how soon those that find the queue full are told, and the memory of the gateway over
time. What the clients were told is held against the ledger: each accepted request is answered, and
is on record once.

  bench/overload.py --bin build/release/bin [--seconds 300] [--json]
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from lib.servers import ask, ready_instances, start_stoker, wait_for

SLOTS, ANSWER_S = 32, 0.1
CONFIG = """
listen: 127.0.0.1:{port}
state_dir: {dir}/state
auth: none
threads: 1
log: {{level: warn}}
deployments:
  full:
    runtime: echo
    concurrency: {slots}
    options: {{token_delay: 100ms}}
    autoscaling: {{min_instances: 1, max_instances: 1}}
"""


def rss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def watch(pid, samples, stop):
    begun = time.monotonic()
    while not stop.wait(1):
        samples.append((time.monotonic() - begun, rss_kib(pid)))


def recorded(port):
    """Requests on record by their outcome, once the ledger no longer grows."""
    last = None
    for _ in range(100):
        (row,) = ask(port, "/api/v1/usage?by=deployment")["usage"]
        if row == last:
            return row
        last = row
        time.sleep(0.3)
    sys.exit("the ledger goes on growing after the last answer")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of stoker, gateway_load")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--times", type=float, default=10, help="the capacity that is offered")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    capacity = SLOTS / ANSWER_S
    rate = args.times * capacity
    with tempfile.TemporaryDirectory() as directory:
        server, port, _ = start_stoker(args.bin, directory, CONFIG, slots=SLOTS)
        try:
            wait_for(lambda: ready_instances(port), "stoker", server)
            samples, stop = [], threading.Event()
            watcher = threading.Thread(target=watch, args=(server.pid, samples, stop))
            watcher.start()
            load = subprocess.run(
                [args.bin / "gateway_load", f"http://127.0.0.1:{port}", "full", "unary", "1",
                 str(round(rate * args.seconds)), "2", "--rate", str(rate), "--refusals", "yes"],
                capture_output=True, text=True, check=False)
            stop.set()
            watcher.join()
            if load.returncode != 0:
                sys.exit(f"load: {load.stderr.strip()}")
            usage = recorded(port)
        finally:
            server.terminate()
            server.wait()

    done = json.loads(load.stdout)
    answered = done["requests"] - done["refused"]
    warm = [kib for at, kib in samples if at > min(30, args.seconds / 4)]
    report = {
        "offered_per_s": rate, "capacity_per_s": capacity, "seconds": done["wall_s"],
        "answered": answered, "refused": done["refused"],
        "goodput_of_capacity": answered / done["wall_s"] / capacity,
        "answered_p50_ms": done["p50_us"] / 1e3, "answered_p99_ms": done["p99_us"] / 1e3,
        "refused_p99_ms": done["refused_p99_us"] / 1e3,
        "rss_first_kib": warm[0], "rss_last_kib": warm[-1],
        "rss_spread": (max(warm) - min(warm)) / min(warm), "usage": usage,
    }
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print(f"offered {rate:.0f}/s for {done['wall_s']:.0f} s to workers that do {capacity:.0f}/s")
        print(f"answered {answered} ({report['goodput_of_capacity']:.1%} of capacity), p50 "
              f"{report['answered_p50_ms']:.0f} ms, p99 {report['answered_p99_ms']:.0f} ms")
        print(f"refused {done['refused']}, told within {report['refused_p99_ms']:.1f} ms at p99")
        print(f"memory {warm[0]} KiB after {min(30, args.seconds / 4):.0f} s, {warm[-1]} KiB at the end, "
              f"spread {report['rss_spread']:.1%}")
        print(f"on record: {usage}")
    if usage["completed"] != answered:
        sys.exit(f"{answered} requests were answered, and {usage['completed']} are on record as completed")


if __name__ == "__main__":
    main()
