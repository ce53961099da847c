"""A foreign engine for tests: OpenAI-shaped, plain http.server, no dependency.

Reads PORT. GET /health, GET /running (requests under way), GET /pid, POST /v1/chat/completions
with max_tokens tokens of 10 ms each, streamed or not. POST /die exits with the code in its body.
With --leave-child FILE it also starts a child that leaves the process group and ignores SIGTERM,
and writes its pid to FILE.
"""
import http.server
import json
import os
import signal
import sys
import threading
import time

running = 0
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            self.answer(b'{"status":"ok"}')
        elif self.path == "/running":
            self.answer(json.dumps({"running": running}).encode())
        elif self.path == "/pid":
            self.answer(json.dumps({"pid": os.getpid()}).encode())
        else:
            self.send_error(404)

    def do_POST(self):
        global running
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/die":
            os._exit(int(body))
        request = json.loads(body)
        with lock:
            running += 1
        try:
            self.complete(request)
        except OSError:
            self.close_connection = True  # the client left
        finally:
            with lock:
                running -= 1

    def complete(self, request):
        count = request.get("max_tokens", 3)
        usage = {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}
        if not request.get("stream"):
            time.sleep(count * 0.01)
            message = {"role": "assistant", "content": "token " * count}
            answer = {"choices": [{"index": 0, "message": message}], "usage": usage}
            self.answer(json.dumps(answer).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(count):
            delta = {"choices": [{"index": 0, "delta": {"content": "token "}}]}
            self.chunk(b"data: " + json.dumps(delta).encode() + b"\n\n")
            time.sleep(0.01)
        if (request.get("stream_options") or {}).get("include_usage"):
            self.chunk(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def leave_child(path):
    if os.fork() != 0:
        return
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    while True:
        signal.pause()


if "--leave-child" in sys.argv:
    leave_child(sys.argv[sys.argv.index("--leave-child") + 1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.daemon_threads = True
server.serve_forever()
