#!/usr/bin/env python3
"""What does the gateway cost? Stoker, nginx, HAProxy, a byte relay and a direct connection send the
same requests to stoker-worker-echo over its Unix socket. Printed are the CPU time per request (and
per event of a stream) of whatever stands between client and worker, the requests per CPU-second, and
what it adds to the latency of a client alone.

Stoker does here what it always does: reads the JSON, routes by `model`, asks the core, writes two
journal records, fills SQLite, keeps counters and receipts. Its CPU time is that of all threads of its
process. It runs three times: `stoker` with `auth: none`, `keys` with a key and four limits, `disk`
with these and `durability: disk`. The others only relay; `relay` does not even look at the bytes. All
run one event loop and write no access log. All connections are kept alive.

One round runs all forwards and then backwards (A B C C B A), so that a slow drift of the machine
falls on all alike. The load client checks every answer word by word; a wrong one fails the run.

  bench/gateway.py --bin build/release/bin [--rounds 3] [--only direct,nginx,stoker] [--json]
"""

import argparse
import json
import math
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from lib.servers import (HAPROXY, ask, ask_text, connects, free_port, ready_instances, start_stoker, versions,
                         wait_for)

NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 100000000;
  client_body_buffer_size 16k;
  upstream worker {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1; proxy_set_header Connection "";
    location / {{ proxy_pass http://worker; proxy_buffering {buffering}; }}
  }}
}}
"""

STOKER = """
listen: 127.0.0.1:{port}
state_dir: {dir}/state
auth: {auth}
durability: {durability}
threads: 1
log: {{level: warn}}
deployments:
  unary:
    runtime: echo
    concurrency: 256
    autoscaling: {{min_instances: 1, max_instances: 1}}
  stream:
    runtime: echo
    concurrency: 2000
    options: {{token_delay: 1ms}}
    autoscaling: {{min_instances: 1, max_instances: 1}}
  calm:
    runtime: echo
    concurrency: 2000
    options: {{token_delay: 100ms}}
    autoscaling: {{min_instances: 1, max_instances: 1}}
"""
KINDS = {"unary": "unary", "stream": "stream", "calm": "stream"}  # of a deployment's requests


def cpu_s(pid):
    """CPU time of all threads by their names, from schedstat, as that is in nanoseconds."""
    used = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        used[name] = used.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1e9
    return used


class Stoker:
    """One server with its own workers; `key`: what its clients present."""

    def __init__(self, binaries, directory, name, auth="none", durability="process"):
        own = directory / name
        own.mkdir()
        self.key, self.admin = None, None
        self.process, self.port, config = start_stoker(binaries, own, STOKER, auth=auth,
                                                       durability=durability)
        wait_for(lambda: ask(self.port, "/healthz"), name, self.process)
        if auth == "keys":
            self.admin = (own / "state" / "admin.key").read_text().strip()
            never = "1000000000"  # limits that are kept count of and never met
            made = subprocess.run(
                [binaries / "stoker", "keys", "create", "--config", config, "--tenant", "bench",
                 "--scopes", "inference", "--rpm", never, "--input-tpm", never, "--output-tpm", never,
                 "--concurrent", "1000", "--json"], capture_output=True, text=True, check=True)
            self.key = json.loads(made.stdout)["key"]
        wait_for(lambda: len(self.endpoints()) == len(KINDS), name, self.process)

    def endpoints(self):
        """Endpoint of the ready instance of each deployment."""
        return {i["deployment"]: i["endpoint"] for i in ready_instances(self.port, self.admin)}

    def target(self, _):
        return f"http://127.0.0.1:{self.port}"

    def pid(self, _):
        return self.process.pid

    def rounds(self):
        """Counts of the event loop's rounds by their longest time in seconds."""
        counts = {}
        for line in ask_text(self.port, "/metrics", self.admin).splitlines():
            found = re.match(r'stoker_gateway_round_seconds_bucket\{.*le="([^"]+)"\} (\d+)', line)
            if found:
                counts[float(found[1])] = int(found[2])
        return counts

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Peer:
    """One process for each worker, as most cannot choose by the body."""

    key = None

    def __init__(self, name, binaries, directory, endpoints):
        self.ports, self.processes = {}, {}
        for model, endpoint in endpoints.items():
            own = directory / f"{name}-{model}"
            own.mkdir()
            port = self.ports[model] = free_port()
            path = endpoint.removeprefix("unix:")
            config = own / f"{name}.conf"
            if name == "nginx":
                config.write_text(NGINX.format(dir=own, port=port, upstream=endpoint,
                                               buffering="off" if KINDS[model] == "stream" else "on"))
                command = ["nginx", "-p", own, "-e", own / "nginx.err", "-c", config]
            elif name == "haproxy":
                config.write_text(HAPROXY.format(port=port, upstream=path))
                command = ["haproxy", "-f", config]
            else:
                command = [binaries / "gateway_relay", str(port), path]
            self.processes[model] = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            wait_for(lambda p=port: connects(p), name, self.processes[model])

    def target(self, model):
        return f"http://127.0.0.1:{self.ports[model]}"

    def pid(self, model):
        return self.processes[model].pid

    def stop(self):
        for process in self.processes.values():
            process.terminate()
            process.wait()


class Direct:
    key = None

    def __init__(self, endpoints):
        self.endpoints = endpoints

    def target(self, model):
        return self.endpoints[model]

    def pid(self, _):
        return None

    def stop(self):
        pass


def longest_round(before, after, share):
    """Upper bound in us of the time that this share of the rounds between took; None without rounds."""
    rounds = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    every = rounds.get(math.inf, 0)
    return min((bound * 1e6 for bound, count in rounds.items() if count >= share * every), default=None) if every else None


def measure(load, way, model, connections, requests, words, rate=0):
    """One run of the load; CPU in us per request (unary) or event (stream). `rate`: requests a second
    that are begun whatever has ended; 0: one begins when one has ended."""
    kind = KINDS[model]
    pid = way.pid(model)
    rounds = way.rounds() if isinstance(way, Stoker) else {}
    before = cpu_s(pid) if pid else {}
    command = [load, way.target(model), model, kind, str(connections), str(requests), str(words)]
    command += ["--key", way.key] if way.key else []
    command += ["--rate", str(rate)] if rate else []
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    if pid:
        time.sleep(0.3)  # what is done a little later, as filling SQLite, is part of the price
    after = cpu_s(pid) if pid else {}
    if out.returncode != 0:
        sys.exit(f"{type(way).__name__} {kind}: {out.stderr.strip()}")
    done = json.loads(out.stdout)
    if done["requests"] != requests:
        sys.exit(f"{type(way).__name__} {kind}: {done['requests']} of {requests} requests")
    units = done["events"] if kind == "stream" else done["requests"]
    used = {name: (after[name] - before.get(name, 0)) / units * 1e6 for name in after}
    rounds_after = way.rounds() if isinstance(way, Stoker) else {}
    return {"cpu_us": sum(used.values()), "threads_us": used, "per_s": units / done["wall_s"],
            "round_us": {share: longest_round(rounds, rounds_after, share) for share in ROUND_SHARES},
            **{key: done[key] for key in LATENCIES}}


def median_of(runs, key):
    return statistics.median(run[key] for run in runs)


def print_report(report):
    for title, entries in report["results"].items():
        print(f"\n{title}")
        print(f"  {'':8}{'CPU us':>9}{'min-max':>16}{'per CPU-s':>11}{'per s':>9}{'p50 us':>9}"
              f"{'p99 us':>9}{'p99.9 us':>9}{'first us':>9}")
        for name, e in entries.items():
            span = f"{e['cpu_us_min']:.1f}-{e['cpu_us_max']:.1f}"
            rate = f"{1e6 / e['cpu_us']:.0f}" if e["cpu_us"] else "-"
            print(f"  {name:8}{e['cpu_us']:9.2f}{span:>16}{rate:>11}{e['per_s']:9.0f}"
                  f"{e['p50_us']:9.1f}{e['p99_us']:9.1f}{e['p999_us']:9.1f}{e['first_p50_us']:9.1f}")
        for name in [name for name in OURS if name in entries]:
            ours = entries[name]
            ratios = ", ".join(f"{entries[peer]['cpu_us'] / ours['cpu_us']:.2f} x {peer}'s"
                               for peer in PEERS if peer in entries)
            rounds = ", ".join(f"{share:.2%} within {us / 1000:g} ms"
                               for share, us in ours["round_us"].items())
            print(f"  {name}, from reading to writing (its rounds): {rounds}")
            print(f"  {name} does {ratios} work per CPU-second; by thread, us: " +
                  ", ".join(f"{thread} {us:.1f}" for thread, us in ours["threads_us"].items()
                            if us >= 0.05))
        for name, e in entries.items():
            if name != "direct" and "direct" in entries:
                print(f"  {name} adds {e['p50_us'] - entries['direct']['p50_us']:.0f} us p50, "
                      f"{e['p99_us'] - entries['direct']['p99_us']:.0f} us p99")


ROUND_SHARES = (0.99, 0.999, 0.9999)  # of an event loop's rounds
LATENCIES = ("p50_us", "p99_us", "p999_us", "first_p50_us")
PEERS = ("nginx", "haproxy", "relay")
OURS = {"stoker": {}, "keys": {"auth": "keys"}, "disk": {"auth": "keys", "durability": "disk"}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True,
                        help="folder of stoker, stoker-worker-echo, gateway_load, gateway_relay")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=int, default=4000, help="requests a second of a light load")
    parser.add_argument("--words", type=int, default=110, help="of each request, 9 bytes each")
    parser.add_argument("--only", default=",".join(["direct", *PEERS, *OURS]),
                        help="who takes part, by commas")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    names = args.only.split(",")
    for name in names:
        if name not in ("direct", *PEERS, *OURS):
            parser.error(f"there is no '{name}'")
        if name in ("nginx", "haproxy") and not shutil.which(name):
            sys.exit(f"{name} is not installed; it is a peer of this measurement (or leave it out: --only)")

    workloads = {  # kind, connections, requests, words, rate
        "unary, 16 connections, per request": ("unary", args.connections, args.requests, args.words),
        f"unary, {args.rate} a second whatever has ended, per request": (
            "unary", 1, args.requests // 4, args.words, args.rate),
        "unary, 1 connection, per request": ("unary", 1, args.requests // 4, args.words),
        "stream of 200 tokens, 16 connections, per event": ("stream", args.connections,
                                                            max(args.requests // 200, 32), 200),
        "1,000 streams of 20 tokens at a time, per event": ("stream", 1000, max(args.requests // 10, 1000),
                                                            20),
        "1,000 streams of 200 tokens at a time, per event": ("stream", 1000, max(args.requests // 20, 1000),
                                                             200),
        # A fifth of what one loop can do, where each token comes alone.
        "1,000 streams at a time, begun at even distances, 10,000 tokens a second, per event": (
            "calm", 1, 2000, 20, 500),
    }
    ways = {}
    runs = {title: {name: [] for name in names} for title in workloads}
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(temporary)
        binaries = args.bin.resolve()
        try:
            first = Stoker(binaries, directory, "first")
            ways["first"] = first  # its workers are the peers' workers
            endpoints = first.endpoints()
            for name in names:
                if name == "direct":
                    ways[name] = Direct(endpoints)
                elif name in PEERS:
                    ways[name] = Peer(name, binaries, directory, endpoints)
                elif name == "stoker":
                    ways[name] = first
                else:
                    ways[name] = Stoker(binaries, directory, name, **OURS[name])
            load = args.bin / "gateway_load"
            for way in [ways[name] for name in names]:  # warm up
                for kind, connections, requests, *rest in workloads.values():
                    measure(load, way, kind, connections, max(connections, requests // 10), *rest)
            for number in range(args.rounds):
                for name in names + names[::-1]:
                    for title, workload in workloads.items():
                        runs[title][name].append(measure(load, ways[name], *workload))
                print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
        finally:
            for way in ways.values():
                way.stop()

    report = {"rounds": args.rounds, "runs_each": 2 * args.rounds, "versions": versions(names),
              "load_average": os.getloadavg()[0], "results": {}}
    for title, runs_of in runs.items():
        report["results"][title] = {}
        for name, all_runs in runs_of.items():
            entry = {key: median_of(all_runs, key)
                     for key in ("cpu_us", "per_s", *LATENCIES)}
            entry["cpu_us_min"] = min(run["cpu_us"] for run in all_runs)
            if isinstance(ways[name], Stoker):  # the median of a run's bound
                entry["round_us"] = {share: statistics.median(run["round_us"][share]
                                                              for run in all_runs)
                                     for share in ROUND_SHARES}
            entry["cpu_us_max"] = max(run["cpu_us"] for run in all_runs)
            entry["threads_us"] = {thread: statistics.median(run["threads_us"].get(thread, 0)
                                                             for run in all_runs)
                                   for thread in all_runs[-1]["threads_us"]}
            report["results"][title][name] = entry
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print_report(report)


if __name__ == "__main__":
    main()
