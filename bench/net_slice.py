#!/usr/bin/env python3
"""What does the network layer cost? Our own HTTP on epoll, Boost.Asio with Beast's parser, nginx and
HAProxy relay the same requests to the same worker over a Unix socket; printed is the CPU time of the
proxy per request and per server-sent event. See docs/adr/0002-network-layer.md.

Our slice and Beast's also parse the body and route by its `model` field; nginx and HAProxy cannot do
that without a scripting language and only relay.

One round runs all proxies forwards and then backwards (A B .. B A), so that a slow drift of the
machine falls on all alike. The load client checks every answer to the last byte; a wrong one fails
the run.

  bench/net_slice.py --bin build/release/bin [--rounds 5] [--json]
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

from lib.servers import HAPROXY, connects, free_port, versions, wait_for


def descendants(pid):
    """The process and all below it."""
    found = [pid]
    for parent in found:
        try:
            children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except FileNotFoundError:
            continue
        found += [int(child) for child in children.split()]
    return found


def cpu_s(pid):
    """CPU time of all threads of the process and of all processes below it: what utime + stime of
    /proc/PID/stat hold, read from schedstat because that is in nanoseconds and they are in 10 ms."""
    total = 0
    for each in descendants(pid):
        for task in pathlib.Path(f"/proc/{each}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


PLACEMENTS = {  # CPUs of the proxy, and of load and worker
    "one-cpu": (0, 0),    # the CPU is never idle: the work alone, at saturation
    "two-cpus": (0, 1),   # the proxy's CPU is idle between requests: with the cost of waking up
    "free": (None, None),
}
placement = PLACEMENTS["one-cpu"]


def pin(cpu):
    """For preexec_fn."""
    cpus = sorted(os.sched_getaffinity(0))
    return lambda: cpu is not None and os.sched_setaffinity(0, {cpus[cpu % len(cpus)]})


def connect_unix(path):
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
    return True


NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 100000000;
  client_body_buffer_size 16k;
  upstream worker {{ server unix:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1; proxy_set_header Connection "";
    location / {{ proxy_pass http://worker; }}
    location /v1/stream {{ proxy_pass http://worker; proxy_buffering off; }}
  }}
}}
"""

class Proxy:
    def __init__(self, name, directory, binaries, upstream):
        self.name, self.port = name, free_port()
        values = {"dir": directory, "port": self.port, "upstream": upstream}
        if name in ("own", "beast"):
            command = [binaries / f"net_slice_{name}", f"127.0.0.1:{self.port}", f"unix:{upstream}"]
        elif name == "nginx":
            config = directory / "nginx.conf"
            config.write_text(NGINX.format(**values))
            command = ["nginx", "-p", directory, "-e", directory / "nginx.err", "-c", config]
        else:
            config = directory / "haproxy.cfg"
            config.write_text(HAPROXY.format(**values))
            command = ["haproxy", "-f", config]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        preexec_fn=pin(placement[0]))
        wait_for(lambda: connects(self.port), name, self.process)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def measure(proxy, load, workload):
    """CPU of the proxy in us per request and, for streams, per event."""
    command = [load, f"http://127.0.0.1:{proxy.port}", workload["kind"], str(workload["connections"]),
               str(workload["requests"]), str(workload["events"])]
    before = cpu_s(proxy.process.pid)
    out = subprocess.run(command, capture_output=True, text=True, check=False,
                         preexec_fn=pin(placement[1]))
    used = cpu_s(proxy.process.pid) - before
    if out.returncode != 0:
        sys.exit(f"{proxy.name}: {out.stderr.strip()}")
    done = json.loads(out.stdout)
    if done["requests"] != workload["requests"]:
        sys.exit(f"{proxy.name}: {done['requests']} of {workload['requests']} requests")
    units = done["events"] if workload["kind"] == "stream" else done["requests"]
    return {"us": used / units * 1e6, "per_s": units / done["wall_s"]}


def summary(values):
    """Other work on the machine only ever adds to a figure, so the lower quartile is the one to trust
    when the spread is large."""
    median = statistics.median(values)
    quartile = statistics.quantiles(values, n=4, method="inclusive")[0]
    return {"median": median, "quartile": quartile, "min": min(values), "max": max(values),
            "spread_percent": (max(values) - min(values)) / median * 100}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of net_slice_*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--streams", type=int, default=160)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--tick-us", type=int, default=1000, help="time between tokens")
    parser.add_argument("--proxies", default="own,beast,nginx,haproxy")
    parser.add_argument("--placement", choices=PLACEMENTS, default="one-cpu")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    global placement
    placement = PLACEMENTS[args.placement]

    names = [name for name in args.proxies.split(",")
             if name in ("own", "beast") and (args.bin / f"net_slice_{name}").exists()
             or name in ("nginx", "haproxy") and shutil.which(name)]
    missing = [name for name in args.proxies.split(",") if name not in names]
    if missing:
        print(f"left out, because not installed or not built: {', '.join(missing)}", file=sys.stderr)

    workloads = {
        "unary 1 KB, us/request": {"kind": "unary", "connections": args.connections,
                                   "requests": args.requests, "events": 0},
        "stream, us/event": {"kind": "stream", "connections": args.connections,
                             "requests": args.streams, "events": args.events},
    }
    processes = []
    results = {workload: {name: [] for name in names} for workload in workloads}
    rates = {workload: {name: [] for name in names} for workload in workloads}
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(temporary)
        upstream = directory / "worker.sock"
        try:
            worker = subprocess.Popen([args.bin / "net_slice_upstream", f"unix:{upstream}",
                                       str(args.events), str(args.tick_us)], preexec_fn=pin(placement[1]))
            processes.append(worker)
            wait_for(lambda: connect_unix(upstream), "upstream", worker)
            proxies = []
            for name in names:
                proxies.append(Proxy(name, directory, args.bin, upstream))
                processes.append(proxies[-1].process)
            load = args.bin / "net_slice_load"
            for proxy in proxies:  # warm up
                for workload in workloads.values():
                    warm = dict(workload, requests=max(workload["connections"],
                                                       workload["requests"] // 10))
                    measure(proxy, load, warm)
            for number in range(args.rounds):
                for proxy in proxies + proxies[::-1]:
                    for title, workload in workloads.items():
                        got = measure(proxy, load, workload)
                        results[title][proxy.name].append(got["us"])
                        rates[title][proxy.name].append(got["per_s"])
                print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
        finally:
            for process in processes:
                process.terminate()
                process.wait()

    report = {"rounds": args.rounds, "runs_each": args.rounds * 2, "connections": args.connections,
              "placement": args.placement, "versions": versions(names), "load_average": os.getloadavg()[0], "results": {}}
    for title in workloads:
        own = statistics.median(results[title]["own"]) if "own" in names else None
        report["results"][title] = {}
        for name in names:
            entry = summary(results[title][name])
            entry["per_s_median"] = statistics.median(rates[title][name])
            if own:
                # Of the same place in the same round, so that drift of the machine cancels.
                pairs = [a / b for a, b in zip(results[title][name], results[title]["own"])]
                entry["ratio_to_own"] = statistics.median(pairs)
                entry["ratio_min"], entry["ratio_max"] = min(pairs), max(pairs)
                entry["quartile_ratio_to_own"] = (entry["quartile"] /
                                                  summary(results[title]["own"])["quartile"])
            entry["all"] = results[title][name]
            report["results"][title][name] = entry
    if args.json:
        print(json.dumps(report, indent=2))
        return
    for title, entries in report["results"].items():
        print(f"\n{title} ({report['runs_each']} runs each)")
        print(f"  {'':8} {'median':>8} {'quartile':>8} {'min':>8} {'max':>8} {'spread':>7}"
              f" {'pairs to own':>18} {'quartiles':>9} {'units/s':>9}")
        for name, entry in entries.items():
            pairs = (f"{entry.get('ratio_to_own', 0):.3f} ({entry.get('ratio_min', 0):.2f}-"
                     f"{entry.get('ratio_max', 0):.2f})")
            print(f"  {name:8} {entry['median']:8.2f} {entry['quartile']:8.2f} {entry['min']:8.2f}"
                  f" {entry['max']:8.2f} {entry['spread_percent']:6.1f}% {pairs:>18}"
                  f" {entry.get('quartile_ratio_to_own', 0):9.3f} {entry['per_s_median']:9.0f}")


if __name__ == "__main__":
    main()
