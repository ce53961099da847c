// Workers that die, hang, lie or never come up: who hears of it, when, and that nobody else does.
// Numbers in brackets are the cases of the reliability catalogue.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { gone, residentBytes, workerOf } from './lib/processes.mjs';
import { Stoker, bin, echo, hasEngines, patience, readAll, sseEvents, until } from './lib/stoker.mjs';

const only = (rest = {}) => ({ concurrency: 1, autoscaling: { max_instances: 1 }, ...rest });
const kept = (rest = {}) => ({ autoscaling: { min_instances: 1, max_instances: 1 }, ...rest });
function newFolder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

const time = (event) => Date.parse(event.at);

async function eventsOf(stoker, deployment, name) {
  return (await stoker.events()).filter((e) => e.deployment === deployment && (name === undefined || e.event === name));
}
const eventOf = (stoker, deployment, name, ms) => until(`${deployment}: ${name}`,
  async () => (await eventsOf(stoker, deployment, name))[0], ms);

test('killed while it loads: the waiting stay queued and a new instance serves them (W1)', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ load_time: '800ms' }, only()) } });
  const answers = Promise.all([stoker.chat('e'), stoker.chat('e'), stoker.chat('e')]);
  const loading = await until('it loads', async () => (await stoker.instances('e')).find((i) => i.state === 'loading'));
  const killedAt = Date.now();
  process.kill(workerOf(stoker, loading.instance).pid, 'SIGKILL');
  assert.deepEqual((await answers).map((a) => a.status), [200, 200, 200]);
  const started = await eventsOf(stoker, 'e', 'instance_starting');
  assert.equal(started.length, 2);
  assert.equal(started[1].reason, 'replace');
  const backoff = 1200;
  assert.ok(time(started[1]) - killedAt <= 2000 + backoff);
  const [left] = await eventsOf(stoker, 'e', 'instance_gone');
  assert.match(left.text, /signal 9 \(SIGKILL\)/);
});

test('killed in the middle of a stream: an error event, one failed row, the queued are answered (W2)', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 200, token_delay: '20ms' }, only()) } });
  const { res } = await stoker.stream('e');
  let text = '';
  res.on('data', (part) => { text += part; });
  await until('tokens come', () => sseEvents(text).filter((e) => e.data).length > 3);
  const waiting = stoker.chat('e', { max_tokens: 2 });
  await until('one is queued', async () => (await stoker.deployment('e')).queued === 1);
  const [running] = await stoker.instances('e');
  const killedAt = Date.now();
  process.kill(workerOf(stoker, running.instance).pid, 'SIGKILL');
  await new Promise((resolve) => res.on('end', resolve));
  assert.ok(Date.now() - killedAt < 1000);
  const events = sseEvents(text);
  assert.ok(!text.includes('[DONE]'));
  assert.equal(JSON.parse(events.at(-1).data).error.code, 'instance_lost');
  assert.equal((await waiting).status, 200);
  const rows = await stoker.ledger();
  assert.deepEqual(rows.map((row) => row.outcome).sort(), ['completed', 'failed']);
  const failed = rows.find((row) => row.outcome === 'failed');
  assert.equal(failed.reason, 'instance_lost');
  assert.ok(failed.usage.output_tokens > 0, 'what the client saw is accounted for');
});

test('a slow load that goes on is left alone, one without progress is killed with its reason (W3)', async (t) => {
  const stoker = await Stoker.start(t, {
    deployments: {
      slow: echo({ load_time: '4s', tokens: 1 }, only({ limits: { load_timeout: '1s' } })),
      stalled: echo({ faults: { load_stall: true } }, only({ limits: { load_timeout: '1s', queue_timeout: '3s' } })),
    },
  });
  const [slow, stalled] = await Promise.all([stoker.chat('slow'), stoker.chat('stalled')]);
  assert.equal(slow.status, 200);
  assert.equal((await eventsOf(stoker, 'slow', 'instance_starting')).length, 1);
  assert.equal(stalled.status, 503);
  assert.equal(stalled.json.error.code, 'queue_timeout');
  assert.match(stalled.json.error.message, /without progress for 1(\.0+)? ?s.*limits\.load_timeout/);
  const stopped = await eventOf(stoker, 'stalled', 'instance_stopping');
  assert.equal(stopped.reason, 'load_stalled');
  assert.match((await stoker.deployment('stalled')).last_failure, /without progress/);
});

test('loads that fail: a reason within a second of the last try, and a good one clears it (W4)', async (t) => {
  const folder = newFolder(t);
  const onnx = path.join(folder, 'model.onnx');
  fs.writeFileSync(onnx, 'this is not a model');
  const stoker = await Stoker.start(t, {
    sandbox: 'off',  // the counter is a file that several workers share
    deployments: {
      // Where the engines are built, a real one that meets a broken file.
      broken: hasEngines ? { runtime: 'onnx', model: onnx } : echo({ faults: { load_failed: 'model_broken' } }, only()),
      short: echo({ tokens: 1, faults: { fail_first_loads: 2, load_failed: 'out_of_memory', counter_file: path.join(folder, 'short') } }, only()),
      mended: echo({ tokens: 1, faults: { fail_first_loads: 1, load_failed: 'model_broken', counter_file: path.join(folder, 'mended') } }, only()),
      dies: echo({ faults: { crash_at: 'loading', exit_code: 1 } }, only()),
      full: echo({ faults: { load_failed: 'out_of_memory' } }, only()),
    },
  });
  // Memory may come back, so the request waits through the retries.
  const short = stoker.chat('short');
  const endless = ['dies', 'full'].map(async (name) => [name, await stoker.chat(name), Date.now()]);

  const broken = hasEngines
    ? await stoker.call('/v2/models/broken/infer', { method: 'POST', body: { inputs: [] } })
    : await stoker.chat('broken');
  assert.equal(broken.status, 503, broken.text);
  assert.match(broken.text, /model_broken/);
  assert.ok(Date.now() - time(await eventOf(stoker, 'broken', 'instance_load_failed')) < 1000);

  const refused = await stoker.chat('mended');
  assert.equal(refused.status, 503);
  assert.equal(refused.json.error.code, 'load_failed');
  await until('the next try is good', async () => (await stoker.chat('mended')).status === 200);

  assert.equal((await short).status, 200);
  assert.equal((await eventsOf(stoker, 'short', 'instance_load_failed')).length, 2);
  for (const [name, answer, answeredAt] of await Promise.all(endless)) {
    assert.equal(answer.status, 503);
    assert.equal(answer.json.error.code, 'crash_loop');
    assert.match(answer.json.error.message, name === 'dies' ? /exit 1\b/ : /out_of_memory/);
    const tries = await eventsOf(stoker, name, name === 'dies' ? 'instance_gone' : 'instance_load_failed');
    assert.equal(tries.length, 5);
    assert.ok(answeredAt - time(tries.at(-1)) < 1000, `${name}: within a second of the last try`);
  }
});

test('a worker program that is not there or may not be run: 503 with the reason within a second, good once it is', async (t) => {
  const folder = newFolder(t);
  for (const name of ['stoker', 'stoker-worker-echo']) fs.copyFileSync(path.join(bin, name), path.join(folder, name));
  const worker = path.join(folder, 'stoker-worker-echo');
  const onnx = path.join(folder, 'model.onnx');
  fs.writeFileSync(onnx, 'never read');
  const stoker = await Stoker.start(t, {
    deployments: { e: echo({ tokens: 1 }), o: { runtime: 'onnx', model: onnx } },
  }, { program: path.join(folder, 'stoker') });
  const refused = async (name, ask, reason) => {
    const begun = Date.now();
    const answer = await ask();
    assert.ok(Date.now() - begun < 1000 * patience, `${name} after ${Date.now() - begun} ms`);
    assert.equal(answer.status, 503, answer.text);
    assert.ok(Number(answer.headers['retry-after']) >= 1);
    assert.match(answer.text, reason);
    assert.equal((await eventsOf(stoker, name, 'instance_start_failed')).length, 1, 'one try, not five');
    assert.match((await stoker.deployment(name)).last_failure, reason);
    assert.equal((await stoker.row(answer.headers['x-request-id'])).outcome, 'refused');
  };
  await refused('o', () => stoker.call('/v2/models/o/infer', { method: 'POST', body: { inputs: [] } }),
    /worker program not found: .*\/stoker-worker-onnx; fix: /);
  fs.chmodSync(worker, 0o644);
  await refused('e', () => stoker.chat('e'), /worker program may not be run: .*\/stoker-worker-echo; fix: /);
  fs.chmodSync(worker, 0o755);
  await until('the next try is good', async () => (await stoker.chat('e')).status === 200);
});

const slowEngine = `
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(10.5)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"slow")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
`;

test('a hung worker is found by its missing work, killed and replaced within 10 s (W5)', async (t) => {
  const script = path.join(newFolder(t), 'engine.py');
  fs.writeFileSync(script, slowEngine);
  const stoker = await Stoker.start(t, {
    deployments: {
      stopped: echo({ tokens: 1 }, kept()),
      stuck: echo({ tokens: 5, faults: { hang_at: 'token:2' } }, kept({ concurrency: 2 })),
      deaf: echo({ tokens: 1, faults: { stop_control: true } }, kept()),
      busy: echo({ tokens: 550, token_delay: '20ms' }, only()),
      ignores: echo({ tokens: 100_000, token_delay: '20ms', faults: { ignore_cancel: true } }, kept({ concurrency: 1, limits: { request_timeout: '1s' } })),
      foreign: { runtime: 'command', model: script, command: ['python3', '{model}', '{port}'] },
    },
  });
  for (const name of ['stopped', 'stuck', 'deaf', 'ignores']) await stoker.ready(name);
  const busy = stoker.chat('busy');
  const foreign = stoker.call('/invoke/foreign/slow');
  // The client is told in time; the slot stays taken until the worker is known to have let go (W17).
  const late = await stoker.chat('ignores');
  assert.equal(late.status, 504);
  const row = await stoker.row(late.headers['x-request-id']);
  assert.equal(row.outcome, 'expired');
  assert.ok(row.phases_ms.total < 2000, `answered after ${row.phases_ms.total} ms`);
  assert.equal((await stoker.deployment('ignores')).running, 1);
  const first = (await stoker.instances('stopped'))[0].instance;
  const worker = workerOf(stoker, first);
  const begun = Date.now();
  process.kill(worker.pid, 'SIGSTOP');
  const { res } = await stoker.stream('stuck');
  const text = await readAll(res);
  assert.equal(JSON.parse(sseEvents(text).at(-1).data).error.code, 'instance_lost');
  assert.ok(!text.includes('[DONE]'));
  for (const [name, reason] of [['stopped', 'silent'], ['stuck', 'no_progress'], ['deaf', 'silent']]) {
    const hung = await eventOf(stoker, name, 'instance_hung', 12_000);
    assert.equal(hung.reason, reason, name);
    assert.ok(time(hung) - begun <= 10_500, `${name} after ${time(hung) - begun} ms`);
  }
  await gone([worker]);
  const again = await until('it is replaced', async () => (await stoker.instances('stopped')).find((i) => i.state === 'ready' && i.instance !== first));
  assert.ok(again);
  assert.equal((await stoker.chat('stopped')).status, 200);
  assert.equal((await busy).status, 200, 'busy is not dead');
  const ignored = await eventOf(stoker, 'ignores', 'instance_stopping', 15_000);
  assert.equal(ignored.reason, 'cancel_ignored');
  assert.equal((await foreign).text, 'slow', 'an engine that computes without a byte is not dead either');
  for (const name of ['busy', 'foreign']) assert.equal((await eventsOf(stoker, name, 'instance_hung')).length, 0);
});

test('garbage from a worker fails at most its own request; the server stays small and goes on (W8)', async (t) => {
  const faults = {
    control: { garbage_at: 'control' }, ended: { garbage_at: 'ended' }, http: { garbage_at: 'http' }, stream: { garbage_at: 'stream' },
    twice: { double_done: true }, late: { tokens_after_done: true }, negative: { negative_usage: true },
  };
  const deployments = Object.fromEntries(Object.entries(faults).map(([name, each]) => [name, echo({ tokens: 30, token_delay: '5ms', faults: each }, only())]));
  const stoker = await Stoker.start(t, { deployments: { ...deployments, good: echo({ tokens: 3 }) } });
  assert.equal((await stoker.chat('good')).status, 200);
  const before = residentBytes(stoker.process.pid);
  let asked = 1;
  for (const name of Object.keys(faults)) {
    const unary = await stoker.chat(name);
    const { res } = await stoker.stream(name);
    const text = await readAll(res);
    asked += 2;
    const events = sseEvents(text);
    const ends = events.filter((e) => e.data === '[DONE]' || e.data?.startsWith('{"error"')).length;
    if (res.statusCode === 200) assert.equal(ends, 1, `${name}: a stream ends once, not ${ends} times:\n${text.slice(-600)}`);
    if (name === 'control') {
      assert.equal(unary.json.error?.code, 'instance_lost');
      assert.equal((await eventOf(stoker, name, 'instance_breach')).reason, 'breach');
    }
    if (name === 'ended') assert.deepEqual([unary.status, res.statusCode], [200, 200]);
    if (name === 'http') assert.deepEqual([unary.status, unary.json.error.code], [502, 'bad_answer']);
    if (name === 'late' || name === 'twice') assert.equal(events.at(-1).data, '[DONE]', 'nothing after the end');
  }
  const rows = await stoker.ledger();
  assert.equal(rows.length, asked, 'one row a request');
  assert.equal(new Set(rows.map((row) => row.request)).size, asked);
  for (const row of rows) assert.ok(row.usage.output_tokens >= 0 && row.usage.input_tokens >= 0 && row.usage.device_ms >= 0, JSON.stringify(row));
  assert.ok(residentBytes(stoker.process.pid) - before < 16 << 20);
  assert.equal((await stoker.chat('good')).headers['x-stoker-start'], 'warm');
});

const evilEngine = `
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
answers = {
    b"huge": b"HTTP/1.1 200 OK\\r\\nContent-Length: 9223372036854775808\\r\\n\\r\\n",
    b"minus": b"HTTP/1.1 200 OK\\r\\nContent-Length: -1\\r\\n\\r\\n",
    b"both": b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
    b"chunk": b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n80000000000000000\\r\\n",
    b"head": b"HTTP/1.1 200 OK\\r\\nX: " + b"x" * (4 << 20),
    b"status": b"HTTP/1.1 999999 OK\\r\\n\\r\\n",
    b"noise": bytes(range(256)) * 64,
    b"silent": b"",
    b"short": b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nonly so much",
    b"good": b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok",
}
while True:
    client, _ = listener.accept()
    try:
        request = b""
        while b"\\r\\n\\r\\n" not in request:
            part = client.recv(65536)
            if not part:
                break
            request += part
        path = request.split(b" ")[1].strip(b"/") if b" " in request else b""
        client.sendall(answers.get(path, answers[b"good"]))
    except OSError:
        pass
    client.close()
`;

test('an engine behind runtime: command that answers in no HTTP at all fails its request once (W8)', async (t) => {
  const script = path.join(newFolder(t), 'engine.py');
  fs.writeFileSync(script, evilEngine);
  const stoker = await Stoker.start(t, { deployments: { evil: { runtime: 'command', model: script, command: ['python3', '{model}', '{port}'], autoscaling: { max_instances: 1 } } } });
  const ask = (what) => stoker.call(`/invoke/evil/${what}`);
  assert.equal((await ask('good')).text, 'ok');
  const before = residentBytes(stoker.process.pid);
  for (const what of ['huge', 'minus', 'both', 'chunk', 'head', 'status', 'noise', 'silent', 'short']) {
    const answer = await ask(what).catch((error) => ({ status: 'cut', error }));
    // A body that ends too early shows as a cut one: its head had gone out.
    assert.ok(answer.status === 502 || (what === 'short' && answer.status === 'cut'), `${what}: ${answer.status} ${answer.text}`);
    if (answer.status === 502) assert.ok(['bad_answer', 'instance_lost', 'stream_broken'].includes(answer.json.error.code), answer.text);
    assert.equal((await ask('good')).text, 'ok', `after ${what}`);
  }
  const rows = await stoker.ledger();
  assert.equal(rows.filter((row) => row.outcome === 'failed').length, 9);
  assert.equal((await eventsOf(stoker, 'evil', 'instance_starting')).length, 1, 'the worker itself did nothing wrong');
  assert.ok(residentBytes(stoker.process.pid) - before < 8 << 20);
});

test('workers that die again and again: backoff, crash loop, 503 at once, others unmoved, warm clears (W15)', async (t) => {
  const deaths = {
    zero: [{ exit_code: 0 }, /exit 0\b/], one: [{ exit_code: 1 }, /exit 1\b/], many: [{ exit_code: 42 }, /exit 42\b/],
    segv: [{ signal: 11 }, /SIGSEGV/], abrt: [{ signal: 6 }, /SIGABRT/],
  };
  const deployments = Object.fromEntries(Object.entries(deaths).map(([name, [how]]) => [name, echo({ faults: { crash_at: 'ready', ...how } }, kept())]));
  const stoker = await Stoker.start(t, { deployments: { ...deployments, good: echo({ tokens: 1 }, kept()) } });
  await stoker.ready('good');
  for (const [name, [, reason]] of Object.entries(deaths)) {
    await until(`${name} is in a crash loop`, async () => {
      const d = await stoker.deployment(name);
      return d.crash_loop && d.live_instances === 0;
    }, 40_000);
    const begun = Date.now();
    const answer = await stoker.chat(name);
    assert.ok(Date.now() - begun < 500, 'refused at once');
    assert.equal(answer.status, 503);
    assert.equal(answer.json.error.code, 'crash_loop');
    assert.match(answer.json.error.message, reason);
    assert.ok(Number(answer.headers['retry-after']) > 10);
    assert.equal((await stoker.call(`/v2/models/${name}/ready`)).status, 503);
    const loops = await until('the crash loop is told', async () => { const told = await eventsOf(stoker, name, 'crash_loop'); return told.length > 0 && told; });
    assert.equal(loops.length, 1, 'told once');
    assert.match(loops[0].text, reason);
    await stoker.logs(new RegExp(`level=warn event=crash_loop deployment=${name} `));
    assert.ok(!new RegExp(`level=info event=instance_gone deployment=${name} `).test(stoker.log), 'a death that nobody asked for is a warning');
    const life = (await eventsOf(stoker, name)).filter((e) => e.event === 'instance_starting' || e.event === 'instance_gone');
    assert.equal(life.length, 10, 'five lives');
    for (let failure = 1; failure < 5; ++failure) {
      const pause = time(life[2 * failure]) - time(life[2 * failure - 1]);
      const backoff = 1000 * 2 ** (failure - 1);
      assert.ok(pause >= 0.8 * backoff - 50 && pause <= 1.2 * backoff + 1000, `${name}: ${pause} ms after failure ${failure}`);
    }
  }
  assert.equal((await stoker.chat('good')).headers['x-stoker-start'], 'warm');
  assert.equal((await eventsOf(stoker, 'good', 'instance_starting')).length, 1);
  assert.equal((await stoker.call('/api/v1/warm/many', { method: 'POST' })).status, 202);
  const started = await until('it is tried again', async () => (await eventsOf(stoker, 'many', 'instance_starting'))[5]);
  assert.equal(started.reason, 'warm_request');
  assert.equal((await stoker.deployment('many')).crash_loop, false);
});

test('an abandoned load: the request ends at once as cancelled, the load finishes and idles', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ load_time: '1s', tokens: 1 }), dropped: echo({ load_time: '1s' }, { abandoned_load: 'abort' }) } });
  const clients = [stoker.send('e'), stoker.send('dropped')];
  await until('both load', async () => (await stoker.ps()).instances.filter((i) => i.state === 'loading').length === 2);
  const leftAt = Date.now();
  for (const client of clients) client.leave();
  const rows = await until('both have ended', async () => {
    const found = await stoker.ledger();
    return found.length === 2 ? found : undefined;
  });
  assert.ok(Date.now() - leftAt < 500);
  for (const row of rows) {
    assert.equal(row.outcome, 'cancelled');
    assert.equal(row.usage.output_tokens, 0);
  }
  assert.equal((await stoker.instances('e'))[0].state, 'loading');
  await stoker.ready('e');
  assert.equal((await eventOf(stoker, 'dropped', 'instance_stopping')).reason, 'abandoned');
  assert.equal((await stoker.chat('e')).headers['x-stoker-start'], 'warm');
  assert.equal((await stoker.deployment('dropped')).failures, 0, 'an end that we wanted is no failure');
});
