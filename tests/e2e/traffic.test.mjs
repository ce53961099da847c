// A server records its traffic; the record is bounded, survives what the server survives, holds no
// secret, and can be sent again.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { Stoker, bin, cli, echo, patience, until } from './lib/stoker.mjs';
import { recorded, sendLive, traceOf, trafficFiles, trafficFolder } from './lib/traffic.mjs';

const quick = echo({ tokens: 3 }, { autoscaling: { min_instances: 1 } });
const wellFormed = async (folder) => {
  const { code, stdout, stderr } = await cli(['replay', folder, '--json']);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
};
/// Ids that the recorder has written by now.
const ids = (stoker) => recorded(stoker).map((line) => line.id);

test('each ended request is recorded once, with its receipt and without a word of it', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { cold: echo({ tokens: 4, load_time: '200ms' }), broken: echo({ faults: { load_failed: 'model_broken' } }) } });
  const first = await stoker.chat('cold', { max_tokens: 2 });
  const failed = await stoker.chat('broken');
  const { res, leave } = await stoker.stream('cold', { max_tokens: 1000 });
  res.resume();
  res.on('error', () => {});
  leave();
  await until('all are in the ledger', async () => (await stoker.ledger()).length === 3);
  await until('all are recorded', () => recorded(stoker).length === 3);
  const lines = recorded(stoker);
  assert.deepEqual(new Set(ids(stoker)), new Set((await stoker.ledger()).map((row) => row.request)));
  const cold = lines.find(({ id }) => id === first.headers['x-request-id']);
  assert.deepEqual([cold.deployment, cold.route ?? 'chat', cold.start, cold.instance, cold.outcome, cold.input_tokens, cold.output_tokens],
    ['cold', 'chat', 'cold', 'cold/1', 'completed', 7, 2]);
  const row = await stoker.row(first.headers['x-request-id']);
  assert.ok(cold.load_ms >= 200 && Math.abs(cold.load_ms - row.phases_ms.load) < 0.01, JSON.stringify([cold, row]));
  assert.ok(Math.abs(cold.service_ms - row.phases_ms.ttft - row.phases_ms.generate) < 0.01);
  assert.equal(lines.find(({ id }) => id === failed.headers['x-request-id']).instance, undefined);
  const text = trafficFiles(stoker).map((file) => fs.readFileSync(file, 'utf8')).join('');
  for (const secret of ['owl', 'story', stoker.key, '127.0.0.1']) assert.ok(!text.includes(secret), `'${secret}' is in the record`);
  const mode = (file) => fs.statSync(file).mode & 0o7777;
  assert.deepEqual([mode(trafficFolder(stoker)), mode(trafficFiles(stoker)[0])], [0o700, 0o600]);
  assert.equal((await wellFormed(trafficFolder(stoker))).requests, 3);
});

test('traffic.record: false records nothing', async (t) => {
  const stoker = await Stoker.start(t, { traffic: { record: false }, deployments: { e: quick } });
  assert.equal((await stoker.chat('e')).status, 200);
  await until('it is in the ledger', async () => (await stoker.ledger()).length === 1);
  stoker.signal('SIGTERM');
  await stoker.exited;
  assert.ok(!fs.existsSync(trafficFolder(stoker)));
});

test('the record rotates and never holds more than it may', async (t) => {
  const stoker = await Stoker.start(t, {
    traffic: { file_size: '64KiB', total_size: '192KiB' },
    deployments: { e: echo({ tokens: 1 }, { concurrency: 64, autoscaling: { min_instances: 1 } }) },
  });
  const size = () => trafficFiles(stoker).reduce((sum, file) => sum + fs.statSync(file).size, 0);
  const trace = traceOf([{ at_ms: 0, deployment: 'e', requests: 1500, gap_ms: patience, output: [1, 2] }]);
  const { json } = await sendLive(stoker, trace);
  assert.equal(json.ok, 1500);
  await until('the last ones are recorded', async () => {
    assert.ok(size() <= 192 << 10, `${size()} bytes`);
    return ids(stoker).at(-1) === (await stoker.ledger())[0].request;
  });
  const files = trafficFiles(stoker);
  assert.ok(files.length >= 2 && !files[0].endsWith('0000000001.jsonl'), files.join(' '));
  const replay = await wellFormed(trafficFolder(stoker));
  assert.equal(replay.requests, recorded(stoker).length);
  assert.ok(replay.requests > 300);
});

test('kill -9 loses no recorded request, and none is recorded twice', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 5, token_delay: '2ms' }, { concurrency: 8 }) } });
  for (let life = 0; life < 3; ++life) {
    await stoker.chat('e');
    // One that is still open holds back those that came after it.
    const { res } = await stoker.stream('e', { messages: [{ role: 'user', content: 'w '.repeat(5000) }], max_tokens: 100000 });
    res.resume();
    res.on('error', () => {});
    await Promise.all(Array.from({ length: 10 }, () => stoker.chat('e')));
    stoker.signal('SIGKILL');
    await stoker.exited;
    await stoker.launch();
  }
  await stoker.chat('e');
  const rows = await until('all are in the ledger', async () => {
    const all = await stoker.ledger();
    return all.length >= 34 ? all : undefined;
  });
  await until('all are recorded', () => recorded(stoker).length >= rows.length);
  const lines = recorded(stoker);
  assert.equal(new Set(lines.map(({ id }) => id)).size, lines.length);
  assert.deepEqual(new Set(lines.map(({ id }) => id)), new Set(rows.map((row) => row.request)));
  assert.equal(lines.filter(({ outcome }) => outcome === 'interrupted').length, rows.filter(({ outcome }) => outcome === 'interrupted').length);
  assert.equal((await wellFormed(trafficFolder(stoker))).requests, lines.length);
  // A line that was cut in two is the end of its file.
  const file = trafficFiles(stoker)[0];
  fs.truncateSync(file, fs.statSync(file).size - 20);
  assert.equal((await wellFormed(trafficFolder(stoker))).requests, lines.length - 1);
});

test('a full disk stops the record, not the server', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
  const disk = path.join(folder, 'state/traffic');
  fs.mkdirSync(disk, { recursive: true, mode: 0o700 });
  fs.chmodSync(path.join(folder, 'state'), 0o700);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk], { stdio: 'ignore' });
  } catch {
    fs.rmSync(folder, { recursive: true });
    return t.skip('NOT TESTED: no file system may be mounted here');
  }
  t.after(() => {
    execFileSync('umount', ['-l', disk]);
    fs.rmSync(folder, { recursive: true, force: true });
  });
  const stoker = await Stoker.start(t, { deployments: { e: quick } }, { folder });
  let answered = 0;
  await until('it is full', async () => {
    for (const { status } of await Promise.all(Array.from({ length: 50 }, () => stoker.chat('e')))) assert.equal(status, 200);
    answered += 50;
    return /level=warn event=traffic_unwritten .*No space left/.test(stoker.log);
  }, 30_000);
  execFileSync('mount', ['-o', 'remount,size=4m', disk]);
  await until('it goes on', async () => {
    assert.equal((await stoker.chat('e')).status, 200);
    ++answered;
    return /event=traffic_written_again lost_requests=\d+/.test(stoker.log);
  });
  await until('every one is in the ledger', async () => (await stoker.ledger()).length === answered);
  const lost = Number(/lost_requests=(\d+)/.exec(stoker.log)[1]);
  assert.ok(lost > 0 && recorded(stoker).length >= answered - lost - 1, `${answered} answered, ${lost} lost, ${recorded(stoker).length} recorded`);
  await wellFormed(trafficFolder(stoker));
  await stoker.end();
});

test('a trace is sent again: as fast as it is asked, to whom it is asked, and what fails is told by its kind', async (t) => {
  const stoker = await Stoker.start(t, {
    deployments: {
      small: echo({ tokens: 1000, token_delay: '5ms' }, { concurrency: 2, limits: { max_queued: 3 }, autoscaling: { min_instances: 1 } }),
      large: echo({ tokens: 1000, token_delay: '1ms' }, { concurrency: 64, autoscaling: { min_instances: 1 } }),
    },
  });
  await Promise.all(['small', 'large'].map((name) => stoker.ready(name)));
  const spread = traceOf([{ at_ms: 0, deployment: 'chat', requests: 20, gap_ms: 100, output: [10, 20] }]);
  const begun = performance.now();
  const fast = await sendLive(stoker, spread, ['--to', 'large', '--speed', '10']);
  assert.equal(fast.code, 0, fast.stderr);
  assert.deepEqual([fast.json.sent, fast.json.ok, fast.json.failed], [20, 20, 0]);
  assert.ok(fast.json.seconds >= 0.19, fast.stdout);
  assert.ok(performance.now() - begun >= 190);
  const rows = await stoker.ledger();
  assert.deepEqual(rows.map(({ usage }) => usage.output_tokens).sort(),
    spread.trim().split('\n').slice(1).map((line) => JSON.parse(line).output_tokens).sort());
  assert.equal(rows.filter(({ stream }) => stream).length, 10);
  assert.ok(rows.every(({ deployment }) => deployment === 'large'));

  // All at once is more than the small one takes.
  const herd = traceOf([{ at_ms: 0, deployment: 'chat', requests: 12, output: [40, 50] }]);
  const refused = await sendLive(stoker, herd, ['--map', 'chat=small']);
  assert.equal(refused.code, 1);
  assert.deepEqual(refused.json.failures, { queue_full: 7 });
  assert.equal(refused.json.ok, 5);

  // Clients that hung up hang up again; what cannot be made up is left out.
  const leaves = ['{"stoker_trace": 1}',
    '{"at_ms": 0, "deployment": "large", "stream": true, "output_tokens": 50, "gone_after_ms": 60, "outcome": "cancelled"}',
    '{"at_ms": 1, "deployment": "large", "route": "infer"}'].join('\n');
  const left = await sendLive(stoker, leaves);
  assert.deepEqual([left.json.sent, left.json.left, left.json.skipped, left.json.ok], [1, 1, 1, 0]);
  await until('it was cancelled', async () => (await stoker.ledger('&outcome=cancelled')).length === 1);

  const file = path.join(stoker.folder, 'herd.jsonl');
  fs.writeFileSync(file, herd);
  const server = ['--url', stoker.url, '--config', stoker.configFile];
  const missing = await cli(['replay', '--live', file, ...server]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /has requests for 'chat'.*no such deployment\n {2}fix: .*--map chat=NAME, or --to NAME/);
  const nobody = await cli(['replay', '--live', file, '--url', 'http://127.0.0.1:1', '--to', 'large']);
  assert.equal(nobody.code, 1);
  assert.match(nobody.stderr, /no server answers[^]*fix: /);
  const words = await cli(['replay', '--live', '--map', 'chat=large', '--map', 'other=none', file, ...server]);
  assert.match(words.stdout, /12 sent in .*: 12 ok, 0 left as recorded, 0 failed[^]*to the first byte[^]*whole[^]*sent late/);
});

test('Ctrl-C ends a live replay with its summary', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: quick } });
  const file = path.join(stoker.folder, 'long.jsonl');
  fs.writeFileSync(file, traceOf([{ at_ms: 0, deployment: 'e', requests: 2, gap_ms: 3_600_000 }]));
  const child = spawn(path.join(bin, 'stoker'), ['replay', '--live', file, '--url', stoker.url, '--config', stoker.configFile, '--json']);
  let stdout = '';
  child.stdout.on('data', (part) => { stdout += part; });
  const ended = once(child, 'close');
  await until('the first one was sent', async () => (await stoker.ledger()).length === 1);
  child.kill('SIGINT');
  assert.equal((await ended)[0], 1);
  assert.deepEqual([JSON.parse(stdout).sent, JSON.parse(stdout).ok, JSON.parse(stdout).interrupted], [1, 1, true]);
});

test('mistakes in what to replay say what to do', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'trace.jsonl');
  fs.writeFileSync(file, traceOf([{ at_ms: 0, deployment: 'a', requests: 3, gap_ms: 500 }]));
  const config = path.join(folder, 'stoker.yaml');
  fs.writeFileSync(config, JSON.stringify({ devices: [{ id: 'cpu0', kind: 'cpu', memory: '64MiB' }], deployments: { b: echo({}) } }));
  for (const [args, code, says] of [
    [[], 2, /nothing says what to replay\n {2}fix: name a trace/],
    [[file, '--events', file], 2, /two different replays/],
    [[file, '--map', 'a'], 2, /--map a is no TRACE-NAME=NAME\n {2}fix: /],
    [[path.join(folder, 'none')], 1, /No such file/],
    [[file, '--config', config], 1, /requests for 'a'[^]*--map a=NAME[^]*there are: b/],
    [[file, '--calibrate', config], 1, /no known trace|neither/],
  ]) {
    const answer = await cli(['replay', ...args]);
    assert.equal(answer.code, code, answer.stderr);
    assert.match(answer.stderr, says);
  }
  const { code, stdout } = await cli(['replay', file, '--config', config, '--to', 'b']);
  assert.equal(code, 0);
  assert.match(stdout, /3 requests in .*device-seconds[^]*cold starts +1\n[^]*wait p99, ms/);
});
