#!/usr/bin/env python3
"""What does the gateway cost? Stoker, nginx and a direct connection send the same requests to the
same stoker-worker-echo over its Unix socket. Printed are the CPU time per request (and per event of
a stream) of whatever stands between client and worker, the requests per CPU-second, and what it adds
to the latency of a client alone.

Stoker does here what it always does: reads the JSON, routes by `model`, asks the core, writes two
journal records, fills SQLite, keeps counters and receipts. Its CPU time is that of all threads of its
process. nginx only relays. Both run one event loop and write no access log. All connections are
kept alive.

One round runs all forwards and then backwards (A B C C B A), so that a slow drift of the machine
falls on all alike. The load client checks every answer word by word; a wrong one fails the run.

  bench/gateway.py --bin build/release/bin [--rounds 3] [--json]
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections 1024; }}
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
auth: none
threads: 1
log: {{level: warn}}
deployments:
  unary:
    runtime: echo
    concurrency: 256
    autoscaling: {{min_instances: 1, max_instances: 1}}
  stream:
    runtime: echo
    concurrency: 256
    options: {{token_delay: 1ms}}
    autoscaling: {{min_instances: 1, max_instances: 1}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_s(pid):
    """CPU time of all threads by their names, from schedstat, as that is in nanoseconds."""
    used = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        used[name] = used.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1e9
    return used


def wait_for(ask, what, process):
    for _ in range(1500):
        if process.poll() is not None:
            break
        try:
            if ask():
                return
        except OSError:
            pass
        time.sleep(0.01)
    sys.exit(f"{what} did not come up")


def connects(port):
    socket.create_connection(("127.0.0.1", port), timeout=1).close()
    return True


class Stoker:
    def __init__(self, binaries, directory):
        self.port = free_port()
        config = directory / "stoker.yaml"
        config.write_text(STOKER.format(dir=directory, port=self.port))
        self.process = subprocess.Popen([binaries / "stoker", "serve", "--config", config],
                                        stdout=subprocess.DEVNULL)
        wait_for(lambda: len(self.endpoints()) == 2, "stoker", self.process)

    def endpoints(self):
        """Endpoint of the ready instance of each deployment."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/ps", timeout=2) as answer:
            instances = json.load(answer)["instances"]
        return {i["deployment"]: i["endpoint"] for i in instances if i["state"] == "ready"}

    def target(self, _):
        return f"http://127.0.0.1:{self.port}"

    def pid(self, _):
        return self.process.pid


class Nginx:
    """One process for each worker, as a location cannot choose by the body."""

    def __init__(self, directory, endpoints):
        self.ports, self.processes = {}, {}
        for model, endpoint in endpoints.items():
            own = directory / f"nginx-{model}"
            own.mkdir()
            self.ports[model] = free_port()
            (own / "nginx.conf").write_text(NGINX.format(
                dir=own, port=self.ports[model], upstream=endpoint,
                buffering="off" if model == "stream" else "on"))
            self.processes[model] = subprocess.Popen(
                ["nginx", "-p", own, "-e", own / "nginx.err", "-c", own / "nginx.conf"])
            wait_for(lambda m=model: connects(self.ports[m]), "nginx", self.processes[model])

    def target(self, model):
        return f"http://127.0.0.1:{self.ports[model]}"

    def pid(self, model):
        return self.processes[model].pid


class Direct:
    def __init__(self, endpoints):
        self.endpoints = endpoints

    def target(self, model):
        return self.endpoints[model]

    def pid(self, _):
        return None


def measure(load, way, kind, connections, requests, words):
    """One run of the load; CPU in us per request (unary) or event (stream)."""
    pid = way.pid(kind)
    before = cpu_s(pid) if pid else {}
    out = subprocess.run([load, way.target(kind), kind, kind, str(connections), str(requests),
                          str(words)], capture_output=True, text=True, check=False)
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
    return {"cpu_us": sum(used.values()), "threads_us": used, "per_s": units / done["wall_s"],
            "p50_us": done["p50_us"], "p99_us": done["p99_us"], "first_p50_us": done["first_p50_us"]}


def median_of(runs, key):
    return statistics.median(run[key] for run in runs)


def print_report(report):
    for title, entries in report["results"].items():
        print(f"\n{title}")
        print(f"  {'':8}{'CPU us':>9}{'min-max':>16}{'per CPU-s':>11}{'per s':>9}{'p50 us':>9}"
              f"{'p99 us':>9}{'first us':>9}")
        for name, e in entries.items():
            span = f"{e['cpu_us_min']:.1f}-{e['cpu_us_max']:.1f}"
            rate = f"{1e6 / e['cpu_us']:.0f}" if e["cpu_us"] else "-"
            print(f"  {name:8}{e['cpu_us']:9.2f}{span:>16}{rate:>11}{e['per_s']:9.0f}"
                  f"{e['p50_us']:9.1f}{e['p99_us']:9.1f}{e['first_p50_us']:9.1f}")
        if entries["stoker"]["cpu_us"] and entries["nginx"]["cpu_us"]:
            ratio = entries["nginx"]["cpu_us"] / entries["stoker"]["cpu_us"]
            print(f"  stoker does {ratio:.2f} x nginx's work per CPU-second; by thread, us: " +
                  ", ".join(f"{name} {us:.1f}" for name, us in entries["stoker"]["threads_us"].items()
                            if us >= 0.05))
        for name in ("nginx", "stoker"):
            print(f"  {name} adds {entries[name]['p50_us'] - entries['direct']['p50_us']:.0f} us p50, "
                  f"{entries[name]['p99_us'] - entries['direct']['p99_us']:.0f} us p99")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True,
                        help="folder of stoker, stoker-worker-echo and gateway_load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not shutil.which("nginx"):
        sys.exit("nginx is not installed (Debian: nginx-light); it is the peer of this measurement")

    workloads = {  # kind, connections, requests, words
        "unary, 16 connections, per request": ("unary", args.connections, args.requests, 40),
        "unary, 1 connection, per request": ("unary", 1, args.requests // 4, 40),
        "stream of 200 tokens, 16 connections, per event": ("stream", args.connections,
                                                            max(args.requests // 200, 32), 200),
    }
    processes = []
    runs = {title: {"direct": [], "nginx": [], "stoker": []} for title in workloads}
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(temporary)
        try:
            stoker = Stoker(args.bin.resolve(), directory)
            processes.append(stoker.process)
            endpoints = stoker.endpoints()
            nginx = Nginx(directory, endpoints)
            processes += nginx.processes.values()
            ways = {"direct": Direct(endpoints), "nginx": nginx, "stoker": stoker}
            load = args.bin / "gateway_load"
            for way in ways.values():  # warm up
                for kind, connections, requests, words in workloads.values():
                    measure(load, way, kind, connections, max(connections, requests // 10), words)
            for number in range(args.rounds):
                for name in list(ways) + list(ways)[::-1]:
                    for title, workload in workloads.items():
                        runs[title][name].append(measure(load, ways[name], *workload))
                print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()

    nginx_version = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
    report = {"rounds": args.rounds, "runs_each": 2 * args.rounds, "nginx": nginx_version.stderr.strip(),
              "load_average": os.getloadavg()[0], "results": {}}
    for title, ways in runs.items():
        report["results"][title] = {}
        for name, all_runs in ways.items():
            entry = {key: median_of(all_runs, key)
                     for key in ("cpu_us", "per_s", "p50_us", "p99_us", "first_p50_us")}
            entry["cpu_us_min"] = min(run["cpu_us"] for run in all_runs)
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
