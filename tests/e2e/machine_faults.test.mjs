// The machine fails round a server that is well: no disk, no descriptors, no time.
// Numbers in brackets are the cases of the reliability catalogue.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { Stoker, echo, readAll, sseEvents, until } from './lib/stoker.mjs';

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
  test(`a full disk, durability: ${durability}: what is answered is on record, and all goes on once there is room (O7)`, async (t) => {
    const folder = smallDisk(t, '100m');
    if (folder === undefined) return t.skip('NOT TESTED: no file system may be mounted here');
    const stoker = await Stoker.start(t, { durability, deployments: { e: echo({ tokens: 20, token_delay: '10ms' }) } }, { folder });
    await stoker.chat('e', { max_tokens: 1 });
    const running = stoker.stream('e').then(({ res }) => readAll(res));
    await until('it runs', async () => (await stoker.deployment('e')).running === 1);
    const filler = fill(folder);
    const completed = [];
    for (let i = 0; i < 100; ++i) {
      const answer = await stoker.chat('e', { max_tokens: 1 });
      // The journal has its room ahead, so requests go on; without any they would be refused.
      if (answer.status === 200) completed.push(answer.headers['x-request-id']);
      else assert.deepEqual([answer.status, answer.json.error.code], [503, 'storage']);
    }
    assert.equal(sseEvents(await running).at(-1).data, '[DONE]');
    fs.rmSync(filler);
    await until('it goes on', async () => (await stoker.chat('e', { max_tokens: 1 })).status === 200);
    const rows = await stoker.ledger();
    assert.equal(new Set(rows.map((row) => row.request)).size, rows.length);
    const recorded = new Set(rows.filter((row) => row.outcome === 'completed').map((row) => row.request));
    for (const id of completed) assert.ok(recorded.has(id), `${id} was answered, and is in the ledger`);
    assert.ok(!/event=journal_failed/.test(stoker.log));
    await stoker.end();
  });
}

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

test('a server that was stopped itself for 12 s kills no healthy worker (R9)', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { busy: echo({ tokens: 5, token_delay: '3s' }, kept()), idle: echo({}, kept()) } });
  await stoker.ready('busy');
  await stoker.ready('idle');
  const answer = stoker.chat('busy');
  await until('it runs', async () => (await stoker.deployment('busy')).running === 1);
  stoker.signal('SIGSTOP');
  await asleep(12_000);  // longer than any silence that a worker is allowed
  stoker.signal('SIGCONT');
  assert.equal((await answer).status, 200);
  const judged = (await stoker.events()).filter((e) => e.event === 'instance_hung' || e.event === 'instance_gone');
  assert.deepEqual(judged, []);
  assert.deepEqual((await stoker.ps()).instances.map((i) => i.state), ['ready', 'ready']);
});
