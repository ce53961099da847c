// The server itself is killed, its disk fails, its machine is short of memory, or one of its workers
// is hostile: nothing is left behind, nothing is counted twice, nobody else is hit.
// Numbers in brackets are the cases of the reliability catalogue.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { descendants, gone, isThere, isZombie, processOf, workerOf, workersBelow } from './lib/processes.mjs';
import { Stoker, bin, cli, echo, hasEngines, llama, patience, readAll, request, sseEvents, until } from './lib/stoker.mjs';

const kept = (rest = {}) => ({ autoscaling: { min_instances: 1, max_instances: 1 }, ...rest });

function newFolder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

async function killServer(stoker) {
  stoker.signal('SIGKILL');
  await stoker.exited;
}

/// What this machine lets us do, by the product's own word.
const doctor = JSON.parse((await cli(['doctor', '--json'])).stdout);
const permits = (check) => doctor.checks.find((one) => one.check === check)?.state === 'ok';
const needs = (...checks) => {
  const missing = checks.filter((check) => !permits(check));
  return missing.length > 0 && `NOT TESTED on this machine: it has no ${missing.join(', ')}`;
};

const engine = `
import http.server, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
`;

for (const sandbox of ['auto', 'off']) {
  test(`kill -9 of the server: every worker and engine is gone within 5 s, sandbox: ${sandbox} (W10)`, async (t) => {
    const script = path.join(newFolder(t), 'engine.py');
    fs.writeFileSync(script, engine);
    const deployments = {
      e: echo({ memory: '20MiB' }, kept()),
      stuck: echo({ faults: { hang_at: 'first_token', ignore_cancel: true } }, kept()),
      python: { runtime: 'command', model: script, command: ['python3', '{model}', '{port}'], ...kept() },
      ...(hasEngines ? { chat: llama({}, kept()) } : {}),
    };
    const stoker = await Stoker.start(t, { sandbox, deployments });
    for (const name of Object.keys(deployments)) await stoker.ready(name);
    stoker.send('stuck');
    await until('the stuck one runs', async () => (await stoker.deployment('stuck')).running === 1);
    const all = descendants(stoker.process.pid);
    assert.ok(all.some((one) => one.name.startsWith('python')) && all.length >= Object.keys(deployments).length + 1);
    await killServer(stoker);
    await gone(all, 5_000);
    await stoker.launch();  // the next life removes what the killed one could not, its cgroups
  });
}

test('only our own are killed: a stranger of the same name outlives every kill and restart (W9)', async (t) => {
  const folder = newFolder(t);
  const stranger = spawn(path.join(bin, 'stoker-worker-echo'), ['--listen', `unix:${folder}/stranger.sock`], { stdio: 'ignore' });
  t.after(() => stranger.kill('SIGKILL'));
  await once(stranger, 'spawn');
  const who = processOf(stranger.pid);
  const stoker = await Stoker.start(t, { deployments: { e: echo({ faults: { garbage_at: 'control' } }, { concurrency: 1, autoscaling: { max_instances: 1 } }), f: echo({}, kept()) } }, { folder });
  for (let round = 0; round < 3; ++round) {
    await stoker.ready('f');
    await stoker.call('/api/v1/warm/e', { method: 'POST' });
    await stoker.ready('e');
    await stoker.chat('e');  // it breaks its contract and is killed
    await until('it is gone', async () => (await stoker.instances('e')).length === 0);
    await stoker.call('/api/v1/stop/f', { method: 'POST' });
    await until('the other has stopped', async () => (await stoker.instances('f')).length === 0);
    assert.ok(!descendants(stoker.process.pid).some(isZombie), 'no zombie is left');
    await killServer(stoker);
    await stoker.launch();
  }
  assert.ok(isThere(who) && !isZombie(who));
});

// --- Starts that are cut off (O3) -----------------------------------------------------------------

const steps = {
  'its intent is being written': (stoker) => /event=instance_starting/.test(stoker.log),
  'it is spawned': (stoker) => descendants(stoker.process.pid).length > 0,
  'it has said hello': (stoker) => /event=instance_up/.test(stoker.log),
  'it loads': async (stoker) => (await stoker.instances('e'))[0]?.load_fraction > 0.2,
  'it is ready and streams': (stoker) => /event=instance_ready/.test(stoker.log),
};

for (const [step, reached] of Object.entries(steps)) {
  test(`kill -9 of the server while an instance starts, ${step}: nothing half-made serves (O3)`, async (t) => {
    const folder = newFolder(t);
    const stoker = await Stoker.start(t, { deployments: { e: echo({ load_time: '400ms', tokens: 50, token_delay: '20ms' }) } }, { folder });
    stoker.send('e', { stream: true });
    await until(step, () => reached(stoker));
    const before = descendants(stoker.process.pid);
    await killServer(stoker);
    await stoker.launch();
    assert.ok(!before.some((one) => isThere(one) && !isZombie(one)), 'what an earlier life left is gone before the next serves');
    const { instances, devices } = await stoker.ps();
    assert.deepEqual(instances, []);
    assert.equal(devices[0].reserved_bytes, 0);
    const rows = await stoker.ledger();
    assert.deepEqual(rows.map((row) => [row.outcome, row.deployment]), [['interrupted', 'e']]);
    const open = Date.parse(rows[0].ended_at) - Date.parse(rows[0].accepted_at);
    assert.ok(Math.abs(rows[0].phases_ms.total - open) < 1, 'the time that it was open is known');
    const answer = await stoker.chat('e', { max_tokens: 2 });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['x-stoker-start'], 'cold');
    assert.notEqual(answer.headers['x-request-id'], rows[0].request);
    await stoker.call('/api/v1/stop/e', { method: 'POST' });
    await until('its memory is free', async () => (await stoker.ps()).devices[0].reserved_bytes === 0);
  });
}

test('kill -9 of the server under load: each accepted request has one row, none is counted twice', async (t) => {
  const folder = newFolder(t);
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 6, token_delay: '5ms' }, { concurrency: 4, autoscaling: { max_instances: 2 } }) } }, { folder });
  const answered = new Set();
  for (let life = 0; life < 3; ++life) {
    let running = true;
    const clients = Array.from({ length: 8 }, async () => {
      while (running) {
        const answer = await stoker.chat('e').catch(() => undefined);
        if (answer?.status === 200) answered.add(answer.headers['x-request-id']);
      }
    });
    await until('some are answered', () => answered.size > 40 * (life + 1));
    await killServer(stoker);
    running = false;
    await Promise.all(clients);
    await stoker.launch();
  }
  const rows = await stoker.ledger();
  assert.equal(new Set(rows.map((row) => row.request)).size, rows.length, 'one row a request');
  const completed = new Set(rows.filter((row) => row.outcome === 'completed').map((row) => row.request));
  for (const id of answered) assert.ok(completed.has(id), `${id} was answered, and its row says so`);
  for (const row of rows) assert.ok(['completed', 'interrupted'].includes(row.outcome), row.outcome);
});

test('kill -9 of the server: its door is shut within a second, what ran is cancelled, and the next life runs none of it (O12)', async (t) => {
  const folder = newFolder(t);
  const config = { deployments: { e: echo({ tokens: 100_000, token_delay: '10ms' }, { concurrency: 4, ...kept() }) } };
  const stoker = await Stoker.start(t, config, { folder });
  await stoker.ready('e');
  const streams = await Promise.all(Array.from({ length: 4 }, () => stoker.stream('e')));
  const texts = streams.map(({ res }) => readAll(res).then(() => 'whole', () => 'broken'));
  const queued = stoker.chat('e').then(({ status }) => status, () => 'broken');
  await until('one waits', async () => (await stoker.deployment('e')).queued === 1);
  const below = descendants(stoker.process.pid);
  const begun = performance.now();
  stoker.signal('SIGKILL');
  await until('nobody is let in', () => request(`${stoker.url}/healthz`).then(() => false, (error) => error.code === 'ECONNREFUSED'));
  assert.ok(performance.now() - begun < 1000 * patience, `${performance.now() - begun} ms`);
  assert.deepEqual(await Promise.all([...texts, queued]), Array(5).fill('broken'), 'nobody is told that it went well');
  await gone(below);
  await stoker.exited;
  await stoker.launch();
  const instance = await stoker.ready('e');
  const rows = await stoker.ledger();
  assert.equal(rows.length, 5);
  assert.deepEqual([...new Set(rows.map((row) => row.outcome))], ['interrupted']);
  for (const { res } of streams) assert.ok(rows.some((row) => row.request === res.headers['x-request-id']));
  assert.equal((await stoker.chat('e', { max_tokens: 1 })).status, 200);
  assert.equal((await stoker.stats(instance)).requests, 1, 'the worker of the new life saw the new request alone');
  assert.equal((await stoker.ledger()).length, 6);
});

test('the first start of the next life reserves what was measured, and no file stops the server', async (t) => {
  const folder = newFolder(t);
  const stoker = await Stoker.start(t, { deployments: { e: echo({ memory: '40MiB', tokens: 1 }) } }, { folder });
  const told = async (name) => (await stoker.events()).find((e) => e.event === name).text;
  const restart = async () => {
    stoker.signal('SIGTERM');
    await stoker.exited;
    await stoker.launch();
    assert.equal((await stoker.chat('e')).status, 200);
  };
  assert.equal((await stoker.chat('e')).status, 200);
  const reserved = async () => /, (\S+ MiB) reserved/.exec(await told('instance_starting'))[1];
  const holds = async () => /it holds (\S+ MiB)/.exec(await told('instance_ready'))[1];
  const estimate = await reserved();
  const measured = await holds();
  assert.notEqual(measured, estimate);
  await restart();
  assert.equal(await reserved(), measured);
  const file = path.join(folder, 'state/footprints');
  assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  fs.writeFileSync(file, 'no footprints\n'.repeat(3));
  await restart();
  assert.equal(await reserved(), estimate);
  await stoker.logs(/event=footprints_damaged .*lines=3/);
  fs.rmSync(file);
  fs.mkdirSync(path.join(file, 'in the way'), { recursive: true });
  await restart();
  assert.equal(await reserved(), estimate);
  await stoker.logs(/event=footprints_unwritten/);
});

// --- The disk (O8) --------------------------------------------------------------------------------

/// The N-th sync of the server fails. Gives how its life went.
async function lifeWithFailingSync(stoker, failing) {
  const wrap = ['strace', '-f', '--seccomp-bpf', '-qq', '-o', '/dev/null', '-e', 'trace=fdatasync', '-e', `inject=fdatasync:error=EIO:when=${failing}`];
  // LeakSanitizer cannot work under strace; the other sanitizers can.
  const env = { ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:detect_leaks=0` };
  const listened = await stoker.launch(env, wrap).then(() => true, () => false);
  const answered = [];
  let workers = [];
  let over = !listened;
  stoker.exited.then(() => { over = true; });
  while (!over) {
    workers = workersBelow(stoker.process.pid);
    const answer = await stoker.chat('e').catch(() => undefined);
    if (answer?.status === 200) answered.push(answer.headers['x-request-id']);
  }
  const end = await stoker.exited;
  await stoker.logEnded;
  return { ...end, log: stoker.log, answered, workers };
}

test('a sync that fails is the end of the process, said once; the next start verifies and goes on (O8)', { skip: fs.existsSync('/usr/bin/strace') ? false : 'NOT TESTED: there is no strace' }, async (t) => {
  for (const durability of ['process', 'disk']) {
    const folder = newFolder(t);
    const config = { durability, sandbox: 'off', deployments: { e: echo({ tokens: 1 }) } };
    const stoker = await Stoker.start(t, config, { folder });
    stoker.signal('SIGTERM');
    await stoker.exited;
    const answered = [];
    let failedWhileServing = 0;
    // The first syncs are those of the start; sooner or later it is one of a server that serves.
    for (let failing = 1; failing < 40 && (failedWhileServing < 2 || answered.length === 0); ++failing) {
      const life = await lifeWithFailingSync(stoker, failing);
      assert.equal(life.code, 1, `sync ${failing}: ${JSON.stringify(life.signal)}\n${life.log}`);
      const said = life.log.split('\n').filter((line) => /journal_failed|^error: /.test(line));
      assert.equal(said.length, 1, life.log);
      assert.match(said[0], /Input\/output error|disk I\/O error/);
      if (said[0].includes('journal_failed')) ++failedWhileServing;
      answered.push(...life.answered);
      await gone(life.workers);
    }
    assert.ok(failedWhileServing >= 2 && answered.length > 0, 'the sweep reached a server that serves');
    await stoker.launch();
    const rows = await stoker.ledger();
    assert.equal(new Set(rows.map((row) => row.request)).size, rows.length);
    const completed = new Set(rows.filter((row) => row.outcome === 'completed').map((row) => row.request));
    for (const id of answered) assert.ok(completed.has(id), `${durability}: ${id} was answered`);
    assert.equal((await stoker.chat('e')).status, 200);
  }
});

// --- Orderly ends (O13) ---------------------------------------------------------------------------

test('SIGTERM under load: all that was accepted is answered, exit 0, nothing left (O13)', async (t) => {
  const stoker = await Stoker.start(t, { drain_timeout: '20s', deployments: { e: echo({ tokens: 20, token_delay: '20ms', load_time: '200ms' }, { concurrency: 4, autoscaling: { max_instances: 2 } }), cold: echo({ load_time: '500ms', tokens: 1 }) } });
  const unary = Array.from({ length: 24 }, () => stoker.chat('e'));
  const streams = Array.from({ length: 8 }, () => stoker.stream('e').then(async ({ res }) => readAll(res)));
  const cold = stoker.chat('cold');
  await until('all are admitted', async () => {
    const { deployments } = await stoker.ps();
    return deployments.reduce((sum, d) => sum + d.queued + d.running, 0) === 33;
  });
  const below = descendants(stoker.process.pid);
  const begun = Date.now();
  stoker.signal('SIGTERM');
  for (const answer of await Promise.all([...unary, cold])) assert.equal(answer.status, 200, answer.text);
  for (const text of await Promise.all(streams)) assert.equal(sseEvents(text).at(-1).data, '[DONE]');
  assert.deepEqual(await stoker.exited, { code: 0, signal: null });
  assert.ok(Date.now() - begun < 20_000 * patience);
  await gone(below, 1_000);  // what ended stays visible until its new parent has reaped it
});

test('while it drains the server says so; its listener closes at the end', async (t) => {
  const stoker = await Stoker.start(t, { drain_timeout: '20s', deployments: { e: echo({ tokens: 250, token_delay: '20ms' }), other: echo() } });
  const { res } = await stoker.stream('e');
  const text = readAll(res);
  await until('it runs', async () => (await stoker.deployment('e')).running === 1);
  stoker.signal('SIGTERM');
  await until('/readyz says 503', async () => (await request(`${stoker.url}/readyz`)).status === 503);
  for (const name of ['e', 'other']) {
    const refused = await stoker.chat(name);
    assert.equal(refused.status, 503);
    assert.equal(refused.json.error.code, 'draining');
    assert.ok(Number(refused.headers['retry-after']) >= 1);
    assert.equal(refused.headers.connection, 'close');
  }
  assert.equal((await request(`${stoker.url}/healthz`)).status, 200);
  assert.equal((await stoker.deployment('e')).running, 1);
  assert.equal((await stoker.call('/api/v1/warm/other', { method: 'POST' })).json.error.code, 'draining');
  assert.equal(sseEvents(await text).at(-1).data, '[DONE]');
  assert.deepEqual(await stoker.exited, { code: 0, signal: null });
  await assert.rejects(request(`${stoker.url}/readyz`), { code: 'ECONNREFUSED' });
});

test('a graceful end leaves no socket file; an address in use leaves no state directory', async (t) => {
  const folder = newFolder(t);
  const socket = path.join(folder, 'api.sock');
  const stoker = await Stoker.start(t, { listen: `unix:${socket}`, deployments: { e: echo() } });
  const second = path.join(folder, 'second.yaml');
  const state = path.join(folder, 'second-state');
  fs.writeFileSync(second, JSON.stringify({ listen: `unix:${socket}`, state_dir: state, deployments: { e: echo() } }));
  const refused = await cli(['serve', '--config', second]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /in use by another process/);
  assert.ok(!fs.existsSync(state));
  assert.ok(fs.existsSync(socket));
  stoker.signal('SIGTERM');
  assert.deepEqual(await stoker.exited, { code: 0, signal: null });
  assert.ok(!fs.existsSync(socket));
});

test('a request longer than the drain limit gets an explicit end, and the server still exits 0 (T7)', async (t) => {
  const stoker = await Stoker.start(t, { drain_timeout: '1s', deployments: { e: echo({ tokens: 2000, token_delay: '20ms' }) } });
  const { res } = await stoker.stream('e');
  const text = readAll(res);
  const unary = stoker.chat('e');
  await until('both run', async () => (await stoker.deployment('e')).running === 2);
  const begun = Date.now();
  stoker.signal('SIGTERM');
  const events = sseEvents(await text);
  assert.ok(JSON.parse(events.at(-1).data).error, 'the stream ends in an error event');
  const answer = await unary;
  assert.ok(answer.status >= 500 && answer.json.error.code, answer.text);
  assert.deepEqual(await stoker.exited, { code: 0, signal: null });
  assert.ok(Date.now() - begun < 8_000 * patience);
});

// --- Limits and hostility (R3, C17) ---------------------------------------------------------------

test('a worker beyond its memory dies alone and is reported as oom (R3)', { skip: needs('cgroup.memory') }, async (t) => {
  const stoker = await Stoker.start(t, {
    deployments: {
      fat: echo({ memory: '300MiB' }, { resources: { memory: '128MiB' }, limits: { queue_timeout: '1s' } }),
      slim: echo({ memory: '20MiB', tokens: 1 }, kept({ resources: { memory: '128MiB' } })),
    },
  });
  await stoker.ready('slim');
  const slim = workerOf(stoker, (await stoker.instances('slim'))[0].instance);
  const answer = await stoker.chat('fat');
  assert.equal(answer.status, 503);
  assert.match(answer.json.error.message, /oom \(limit 128(\.0)? MiB\)/);
  const left = (await stoker.events()).find((e) => e.event === 'instance_gone' && e.deployment === 'fat');
  assert.equal(left.reason, 'oom');
  assert.ok(isThere(slim));
  assert.equal((await stoker.chat('slim')).headers['x-stoker-start'], 'warm');
});

test('a hostile worker gets nowhere, and the platform stays up (C17)', { skip: needs('sandbox', 'cgroup.pids') }, async (t) => {
  const folder = newFolder(t);
  const secret = path.join(folder, 'other-model.gguf');
  fs.writeFileSync(secret, 'weights of somebody else');
  const listener = net.createServer();
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => listener.close());
  const stoker = await Stoker.start(t, { sandbox: 'required', deployments: { hostile: echo({ faults: { probes: true } }, kept()), victim: echo({ tokens: 1 }, kept()) } }, { folder });
  await stoker.ready('hostile');
  const victim = await stoker.ready('victim');
  const prey = workerOf(stoker, victim.instance);
  const probes = [
    { connect: `127.0.0.1:${listener.address().port}` }, { connect: new URL(stoker.url).host }, { connect: '192.0.2.1:80' },
    { connect: victim.endpoint },
    { open: '/etc/shadow' }, { open: path.join(folder, 'state/admin.key') }, { open: stoker.configFile }, { open: secret }, { open: `/proc/${prey.pid}/environ` },
    { env: 'STOKER_NONCE' }, { fork: 100_000 },
    { ptrace: prey.pid }, { read_mem: prey.pid }, { ptrace: stoker.process.pid }, { read_mem: stoker.process.pid },
  ];
  for (const probe of probes) {
    const answer = await stoker.call('/invoke/hostile/probe', { method: 'POST', body: probe });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.worked, false, `${JSON.stringify(probe)} worked: ${answer.text}`);
  }
  assert.ok(isThere(prey));
  assert.equal((await stoker.chat('victim')).headers['x-stoker-start'], 'warm');
  assert.equal((await stoker.call('/healthz')).status, 200);
  assert.ok(descendants(stoker.process.pid).length < 20, 'what the fork bomb started is gone');
});
