// The machine fails round a server that is well: no disk, no descriptors, no time.
// Numbers in brackets are the cases of the reliability catalogue.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { descendants, isThere } from './lib/processes.mjs';
import { freePort } from './lib/proxies.mjs';
import { Stoker, bin, cli, echo, hasEngines, llama, longEnough, readAll, request, sized, sseEvents, until } from './lib/stoker.mjs';

const kept = (rest = {}) => ({ autoscaling: { min_instances: 1, max_instances: 1 }, ...rest });
const asleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/// A file system of its own for a state directory; undefined where we may not mount one.
function smallDisk(t, size) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder], { stdio: 'ignore' });
  } catch {
    fs.rmdirSync(folder);
    return undefined;
  }
  t.after(() => {
    execFileSync('umount', ['-l', folder]);
    fs.rmdirSync(folder);
  });
  return folder;
}

function fill(folder) {
  const file = path.join(folder, 'filler');
  const fd = fs.openSync(file, 'w');
  for (const size of [64 << 10, 512, 1]) {
    try { for (;;) fs.writeSync(fd, Buffer.alloc(size)); } catch (error) { assert.equal(error.code, 'ENOSPC'); }
  }
  fs.closeSync(fd);
  return file;
}

for (const durability of ['process', 'disk']) {
  test(`a full disk, durability: ${durability}: what is answered is on record, and all goes on once there is room (O7)`, { timeout: longEnough }, async (t) => {
    const folder = smallDisk(t, '100m');
    if (folder === undefined) return t.skip('NOT TESTED: no file system may be mounted here');
    const stoker = await Stoker.start(t, { durability, deployments: { e: echo({ tokens: 20, token_delay: '10ms' }) } }, { folder });
    await stoker.chat('e', { max_tokens: 1 });
    const running = stoker.stream('e').then(({ res }) => readAll(res));
    await until('it runs', async () => (await stoker.deployment('e')).running === 1);
    const filler = fill(folder);
    const completed = [];
    let refused = 0;
    const ask = async () => {
      const answer = await stoker.chat('e', { max_tokens: 1 });
      // The journal has its room ahead, so requests go on; once that is used up they are refused.
      if (answer.status === 200) return completed.push(answer.headers['x-request-id']);
      assert.deepEqual([answer.status, answer.json.error.code], [503, 'storage']);
      assert.ok(Number(answer.headers['retry-after']) >= 1);
      return ++refused;
    };
    if (sized({ quick: true, full: false })) for (let i = 0; i < 100; ++i) await ask();
    else await Promise.all(Array.from({ length: 16 }, async () => { while (refused < 100) await ask(); }));
    // What is kept beside it is told or refused, and waits for nothing.
    const named = await stoker.chat('e', { max_tokens: 1 }, { 'idempotency-key': 'full' });
    const job = await stoker.post('/v2/e/run', { input: { prompt: 'an owl' } });
    for (const { status, text } of [named, job]) assert.ok([200, 503].includes(status), text);
    t.diagnostic(`${completed.length} answered and ${refused} refused while it was full, then with a key ${named.status}, as a job ${job.status}`);
    assert.equal(sseEvents(await running).at(-1).data, '[DONE]');
    fs.rmSync(filler);
    await until('it goes on', async () => (await stoker.chat('e', { max_tokens: 1 })).status === 200);
    if (job.status === 200) await until('its job runs', async () => (await stoker.call(`/v2/e/status/${job.json.id}`)).json.status === 'COMPLETED');
    assert.equal((await stoker.post('/v2/e/run', { input: { prompt: 'an owl' } })).status, 200);
    assert.equal((await stoker.chat('e', { max_tokens: 1 }, { 'idempotency-key': 'room' })).status, 200);
    const rows = await stoker.ledger();
    assert.equal(new Set(rows.map((row) => row.request)).size, rows.length);
    const recorded = new Set(rows.filter((row) => row.outcome === 'completed').map((row) => row.request));
    if (rows.length < 10_000) for (const id of completed) assert.ok(recorded.has(id), `${id} was answered, and is in the ledger`);
    const [line] = (await stoker.call('/api/v1/usage?by=deployment')).json.usage;
    assert.ok(line.completed >= completed.length, 'none was answered without being billed');
    assert.ok(!/event=journal_failed/.test(stoker.log));
    await stoker.end();
  });
}

test('a disk of 1 MiB is too small to start on, which is said once; with more of it the server starts (O7)', async (t) => {
  const folder = smallDisk(t, '1m');
  if (folder === undefined) return t.skip('NOT TESTED: no file system may be mounted here');
  fs.writeFileSync(path.join(folder, 'stoker.yaml'), JSON.stringify({ listen: '127.0.0.1:0', state_dir: path.join(folder, 'state'), deployments: { e: echo() } }));
  const refused = await cli(['serve', '--config', path.join(folder, 'stoker.yaml')]);
  assert.equal(refused.code, 1, refused.stderr);
  const said = refused.stderr.split('\n').filter((line) => /^error: /.test(line));
  assert.equal(said.length, 1, refused.stderr);
  assert.match(said[0], /No space left on device/);
  execFileSync('mount', ['-o', 'remount,size=100m', folder]);
  const stoker = await Stoker.start(t, { deployments: { e: echo() } }, { folder });
  assert.equal((await stoker.chat('e')).status, 200);
  await stoker.end();
});

test('a log that cannot be written stops nothing (O7)', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const url = `http://127.0.0.1:${await freePort()}`;
  const file = path.join(folder, 'stoker.yaml');
  fs.writeFileSync(file, JSON.stringify({ listen: url.slice('http://'.length), state_dir: path.join(folder, 'state'), log: { level: 'debug' }, deployments: { e: echo() } }));
  const full = fs.openSync('/dev/full', 'w');
  const server = spawn(path.join(bin, 'stoker'), ['serve', '--config', file], { stdio: ['ignore', full, full] });
  fs.closeSync(full);
  t.after(() => server.kill('SIGKILL'));
  const exited = once(server, 'exit');
  await until('it serves', () => request(`${url}/healthz`).then(({ status }) => status === 200, () => false));
  const headers = { authorization: `Bearer ${fs.readFileSync(path.join(folder, 'state/admin.key'), 'utf8').trim()}` };
  for (let i = 0; i < 10; ++i) assert.equal((await request(`${url}/v1/chat/completions`, { method: 'POST', headers, body: { model: 'e', messages: [{ role: 'user', content: 'x' }] } })).status, 200);
  server.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
});

test('a state directory that others could enter is closed to them, and the log says so once', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const state = path.join(folder, 'state');
  fs.mkdirSync(state);
  fs.chmodSync(state, 0o755);
  const stoker = await Stoker.start(t, { deployments: { e: echo() } }, { folder });
  const said = () => [...stoker.log.matchAll(/event=state_dir_closed .*mode_before=0755/g)].length;
  assert.equal(fs.statSync(state).mode & 0o7777, 0o700);
  assert.equal(said(), 1);
  stoker.signal('SIGTERM');
  await stoker.exited;
  await stoker.launch();
  assert.equal(said(), 0);
});

test('more connections than descriptors: no busy loop, and all is well once they are gone (F58)', async (t) => {
  const stoker = await Stoker.start(t, { threads: 1, deployments: { e: echo({ tokens: 1 }, kept()) } }, { wrap: ['prlimit', '--nofile=64:64'] });
  await stoker.ready('e');
  const { hostname, port } = new URL(stoker.url);
  const openNow = () => fs.readdirSync(`/proc/${stoker.process.pid}/fd`).length;
  const atRest = openNow();
  const sockets = Array.from({ length: 100 }, () => net.connect(Number(port), hostname).on('error', () => {}));
  await until('it has no descriptor left', () => openNow() >= 62);
  const ticks = () => fs.readFileSync(`/proc/${stoker.process.pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13).reduce((sum, n) => sum + Number(n), 0);
  const before = ticks();
  await asleep(1000);
  assert.ok(ticks() - before < 30, `it used ${ticks() - before} hundredths of a second of CPU within one second`);
  for (const socket of sockets) socket.destroy();
  await until('it answers', async () => (await stoker.chat('e').catch(() => undefined))?.status === 200);
  await until('its descriptors are back', () => openNow() <= atRest + 4);  // a kept connection or two
});

/// What was judged dead or hung, or ended, since the server began.
const judged = async (stoker) => (await stoker.events()).filter((e) => ['instance_hung', 'instance_gone', 'instance_failed'].includes(e.event));

const stop_s = sized({ quick: 12, full: 60 });  // 12 s: longer than any silence that a worker is allowed
for (const whole of [false, true]) {
  test(`${whole ? 'a machine' : 'a server'} that was stopped itself for ${stop_s} s kills no healthy worker (R9)`, { timeout: longEnough }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { busy: echo({ tokens: 5, token_delay: '3s' }, kept()), idle: echo({}, kept()) } });
    await stoker.ready('busy');
    await stoker.ready('idle');
    const answer = stoker.chat('busy');
    await until('it runs', async () => (await stoker.deployment('busy')).running === 1);
    const stopped = whole ? descendants(stoker.process.pid) : [];
    if (whole) assert.ok(stopped.length >= 2, 'the workers are there');
    stoker.signal('SIGSTOP');
    for (const one of stopped) process.kill(one.pid, 'SIGSTOP');
    await asleep(stop_s * 1000);
    // The server first: it looks before any worker can have spoken.
    stoker.signal('SIGCONT');
    for (const one of stopped) process.kill(one.pid, 'SIGCONT');
    assert.equal((await answer).status, 200);
    assert.deepEqual(await judged(stoker), []);
    assert.deepEqual((await stoker.ps()).instances.map((i) => i.state), ['ready', 'ready']);
    assert.ok(stopped.every(isThere));
  });
}

test('no CPU to be had: nothing is taken for dead, no request is lost (R10)', { timeout: longEnough }, async (t) => {
  const seconds = sized({ quick: 8, full: 300 });
  const deployments = { e: echo({ tokens: 10, token_delay: '5ms' }, kept()), ...(hasEngines ? { chat: llama({}, kept()) } : {}) };
  const stoker = await Stoker.start(t, { deployments });
  const before = [];
  for (const name of Object.keys(deployments)) before.push((await stoker.ready(name)).instance);
  const loops = Array.from({ length: os.cpus().length }, () => spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' }));
  t.after(() => loops.forEach((loop) => loop.kill('SIGKILL')));
  const end = performance.now() + seconds * 1000;
  const statuses = {};
  let asked = 0;
  await Promise.all(Object.keys(deployments).flatMap((name) => [0, 1].map(async () => {
    while (performance.now() < end) {
      ++asked;
      const { status } = await stoker.chat(name, { max_tokens: 10 });
      statuses[status] = (statuses[status] ?? 0) + 1;
    }
  })));
  for (const loop of loops) assert.equal(loop.exitCode ?? loop.signalCode, null, 'the CPUs were busy to the end');
  t.diagnostic(`${asked} requests in ${seconds} s beside ${loops.length} busy loops`);
  assert.deepEqual(statuses, { 200: asked });
  assert.deepEqual(await judged(stoker), []);
  assert.deepEqual((await stoker.ps()).instances.map((i) => i.instance).sort(), before.sort());
  const rows = await until('all are recorded', async () => { const all = await stoker.ledger(); return all.length >= Math.min(asked, 10_000) && all; });
  assert.ok(rows.every((row) => row.outcome === 'completed'));
});

test('no process can be made: 503 that says so, the server and its streams go on, and it starts once one can be (R6)', { skip: fs.existsSync('/usr/bin/strace') ? false : 'NOT TESTED: there is no strace', timeout: longEnough }, async (t) => {
  // The tries are 1, 2, 4 and 8 s apart, then comes a crash loop's minute. The short form gives up waiting before.
  const form = sized({ quick: { queue_timeout: '2500ms', code: 'queue_timeout', retried_ms: 10_000 }, full: { queue_timeout: '2m', code: 'crash_loop', retried_ms: 90_000 } });
  const stoker = await Stoker.start(t, { sandbox: 'off', deployments: {
    up: echo({ tokens: 100_000, token_delay: '5ms' }, kept()),
    down: echo({ tokens: 1 }, { autoscaling: { max_instances: 1 }, limits: { queue_timeout: form.queue_timeout } }),
  } });
  await stoker.ready('up');
  const { res, leave } = await stoker.stream('up');
  const text = readAll(res);
  const calls = 'clone,clone3,fork,vfork';
  const strace = spawn('strace', ['-f', '-p', String(stoker.process.pid), '-o', '/dev/null', '-e', `trace=${calls}`, '-e', `inject=${calls}:error=EAGAIN`], { stdio: ['ignore', 'ignore', 'pipe'] });
  t.after(() => strace.kill('SIGKILL'));
  let said = '';
  strace.stderr.on('data', (part) => { said += part; });
  const threads = () => fs.readdirSync(`/proc/${stoker.process.pid}/task`);
  const traced = (thread) => /TracerPid:\t[1-9]/.test(fs.readFileSync(`/proc/${stoker.process.pid}/task/${thread}/status`, 'utf8'));
  await until('every thread is watched', () => {
    if (strace.exitCode !== null) throw new Error(`strace cannot attach: ${said}`);
    return threads().every(traced);
  });
  const refused = await stoker.chat('down');
  assert.equal(refused.status, 503, refused.text);
  assert.equal(refused.json.error.code, form.code);
  assert.match(refused.json.error.message, /Resource temporarily unavailable/);
  assert.ok(Number(refused.headers['retry-after']) >= 1);
  assert.equal((await stoker.deployment('up')).running, 1, 'what ran runs');
  strace.kill('SIGINT');
  await once(strace, 'exit');
  await until('it starts by itself', async () => (await stoker.chat('down')).status === 200, form.retried_ms);
  leave();
  await text.catch(() => {});
  assert.equal((await request(`${stoker.url}/healthz`)).status, 200);
  assert.equal(stoker.process.exitCode, null);
});
