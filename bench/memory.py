#!/usr/bin/env python3
"""What does somebody who waits cost? Resident memory of the gateway's process with 10,000 idle
connections, and with 1,000 streams whose worker is silent, beside what it has without them. Private
memory alone (what the process would give back), from /proc/PID/smaps_rollup.

Every stream is read up to its first token, so that it is known to run; a wrong answer ends the run.

  bench/memory.py --bin build/release/bin [--connections 10000] [--streams 1000] [--json]
"""

import argparse
import json
import pathlib
import resource
import socket
import sys
import tempfile
import time

from lib.servers import ready_instances, start_stoker, wait_for

CONFIG = """
listen: 127.0.0.1:{port}
state_dir: {dir}/state
auth: none
threads: 1
log: {{level: warn}}
deployments:
  slow:
    runtime: echo
    concurrency: 2000
    options: {{token_delay: 600s, tokens: 3}}
    autoscaling: {{min_instances: 1, max_instances: 1}}
"""
BODY = b'{"model":"slow","stream":true,"messages":[{"role":"user","content":"a b c"}]}'
STREAM = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
          b"Content-Length: " + str(len(BODY)).encode() + b"\r\n\r\n" + BODY)


def private_kib(pid):
    """Of the process alone."""
    total = 0
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1])
    return total


def settled_kib(pid):
    """What it is once it no longer changes."""
    last = private_kib(pid)
    for _ in range(50):
        time.sleep(0.1)
        now = private_kib(pid)
        if now == last:
            return now
        last = now
    return last


def read_until(connection, text):
    got = b""
    while text not in got:
        part = connection.recv(65536)
        if not part:
            sys.exit(f"the server closed after {got!r}")
        got += part
    return got


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of stoker")
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    # Of its descriptors the server keeps half for the workers' side.
    needed = 2 * max(args.connections, args.streams)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        sys.exit(f"{needed} descriptors are needed and {hard} allowed (ulimit -Hn); take fewer --connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))  # the server's too
    socket.setdefaulttimeout(20)

    with tempfile.TemporaryDirectory() as directory:
        server, port, _ = start_stoker(args.bin, directory, CONFIG)
        try:
            wait_for(lambda: ready_instances(port), "stoker", server)
            alone = settled_kib(server.pid)
            streams = []
            for _ in range(args.streams):
                each = socket.create_connection(("127.0.0.1", port))
                each.sendall(STREAM)
                streams.append(each)
            for each in streams:
                if not read_until(each, b"data: ").startswith(b"HTTP/1.1 200 "):
                    sys.exit("a stream did not begin with 200")
            with_streams = settled_kib(server.pid)
            for each in streams:
                each.close()
            between = settled_kib(server.pid)
            idle = []
            for _ in range(args.connections):
                each = socket.create_connection(("127.0.0.1", port))
                idle.append(each)
            for each in idle[:: max(1, len(idle) // 100)]:  # served, and idle again
                each.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                read_until(each, b"200 OK")
            with_idle = settled_kib(server.pid)
        finally:
            server.kill()
            server.wait()
    report = {
        "alone_kib": alone,
        "streams": args.streams, "with_streams_kib": with_streams,
        "kib_per_stream": (with_streams - alone) / args.streams, "streams_closed_kib": between,
        "idle_connections": args.connections, "with_idle_kib": with_idle,
    }
    if args.json:
        print(json.dumps(report, indent=2))
        return
    print(f"alone                          {alone:9} KiB")
    print(f"{args.streams:6} silent streams          {with_streams:9} KiB, {report['kib_per_stream']:.2f} each")
    print(f"closed again                   {between:9} KiB")
    print(f"{args.connections:6} idle connections        {with_idle:9} KiB")


if __name__ == "__main__":
    main()
