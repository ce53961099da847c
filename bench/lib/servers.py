"""Servers that a measurement starts: a port for each, the wait until it is up, and the configuration
that the measurements share."""

import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

HAPROXY = """
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  server worker unix@{upstream}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(ask, what, process):
    """Until `ask` gives true; one that cannot connect is asked again. Ends the run after 20 s, or when
    the process is gone."""
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
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


def ask(port, path, key=None):
    """JSON of a GET."""
    return json.loads(ask_text(port, path, key))


def ask_text(port, path, key=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    question = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(question, timeout=10) as answer:
        return answer.read().decode()


def ready_instances(port, key=None):
    return [i for i in ask(port, "/api/v1/ps", key)["instances"] if i["state"] == "ready"]


def start_stoker(binaries, directory, config_text, **values):
    """`stoker serve` with `config_text`, where {port}, {dir} and `values` are put in.
    Gives: its process, its port and the path of its configuration; it need not be up yet."""
    port = free_port()
    config = pathlib.Path(directory) / "stoker.yaml"
    config.write_text(config_text.format(dir=directory, port=port, **values))
    command = [binaries.resolve() / "stoker", "serve", "--config", config]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL), port, config


def versions(names):
    """What nginx and HAProxy call themselves, if they take part."""
    found = {}
    for name in ("nginx", "haproxy"):
        if name in names:
            out = subprocess.run([name, "-v"], capture_output=True, text=True, check=True)
            found[name] = (out.stdout + out.stderr).splitlines()[0]
    return found
