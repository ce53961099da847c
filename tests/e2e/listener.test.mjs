// The door itself: more clients than descriptors, connections without end, pages of other origins.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import { Stoker, echo, readAll, request, sseEvents, until } from './lib/stoker.mjs';

const descriptors = (pid) => fs.readdirSync(`/proc/${pid}/fd`).length;
/// CPU time of a process in ticks of 10 ms.
function cpuTicks(pid) {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

test('with more clients than descriptors nobody inside is disturbed, nothing spins, and the next are let in when some go (F58)', { timeout: 120_000 }, async (t) => {
  const limit = 128;
  const stoker = await Stoker.start(t, { threads: 1, deployments: { e: echo({ tokens: 400, token_delay: '10ms' }), f: echo({ tokens: 2 }) } }, { wrap: ['prlimit', `--nofile=${limit}:${limit}`] });
  const pid = stoker.process.pid;
  const port = Number(new URL(stoker.url).port);
  assert.equal((await stoker.chat('f')).status, 200);
  const stream = await stoker.stream('e');
  const text = readAll(stream.res);
  const crowd = Array.from({ length: 100 }, () => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    return socket;
  });
  t.after(() => crowd.forEach((socket) => socket.destroy()));
  await stoker.logs(/event=accept_paused/);
  assert.ok(descriptors(pid) < limit, 'some are kept for workers and files');
  const before = cpuTicks(pid);
  const begun = Date.now();
  // Who waits at the door is let in as the silent ones run into the header deadline.
  const waiting = stoker.chat('f');
  assert.equal((await waiting).status, 200);
  const busy = (cpuTicks(pid) - before) * 10 / (Date.now() - begun);
  t.diagnostic(`${(busy * 100).toFixed(1)} % of a CPU while it is full`);
  assert.ok(busy < 0.5, `it spins: ${busy}`);
  assert.equal(sseEvents(await text).at(-1).data, '[DONE]', 'the stream that was inside went on');
  crowd.forEach((socket) => socket.destroy());
  assert.equal((await stoker.chat('e', { max_tokens: 2 })).status, 200);
  assert.match((await stoker.call('/metrics')).text, /stoker_accept_paused_total [1-9]/);
});

test('ten thousand connections that come and go leave nothing behind (R2)', { timeout: 120_000 }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 50, token_delay: '1ms' }) } });
  const port = Number(new URL(stoker.url).port);
  assert.equal((await stoker.chat('e', { max_tokens: 2 })).status, 200);
  const before = descriptors(stoker.process.pid);
  const threads = () => fs.readdirSync(`/proc/${stoker.process.pid}/task`).length;
  const threadsBefore = threads();
  for (let round = 0; round < 100; ++round) {
    await Promise.all(Array.from({ length: 100 }, async (_, i) => {
      const socket = net.connect(port, '127.0.0.1');
      socket.on('error', () => {});
      await once(socket, 'connect');
      if (i % 3 === 1) socket.write('GET /healthz HT');
      if (i % 3 === 2) socket.resetAndDestroy(); else socket.destroy();
    }));
  }
  for (let i = 0; i < 200; ++i) {
    const left = await stoker.stream('e');
    left.leave();
  }
  await until('all are gone', () => descriptors(stoker.process.pid) <= before + 4);
  assert.equal(threads(), threadsBefore);
});

test('pages of the configured origins may call, with a key; others are told nothing (CORS)', async (t) => {
  const page = 'https://console.example.com';
  const stoker = await Stoker.start(t, { cors: { origins: [page] }, deployments: { e: echo({ tokens: 2 }) } });
  const preflight = (origin, target = '/v1/chat/completions') => request(stoker.url + target, { method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' } });
  const asked = await preflight(page);
  assert.equal(asked.status, 204);
  assert.equal(asked.headers['access-control-allow-origin'], page);
  assert.equal(asked.headers['access-control-allow-methods'], 'POST');
  assert.equal(asked.headers['access-control-allow-headers'], 'authorization,content-type');
  assert.equal(asked.headers['access-control-allow-credentials'], undefined);
  assert.match(asked.headers.vary, /Origin/);
  const answer = await stoker.chat('e', {}, { origin: page });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['access-control-allow-origin'], page);
  assert.match(answer.headers['access-control-expose-headers'], /X-Request-Id/);
  const keyless = await request(`${stoker.url}/v1/models`, { headers: { origin: page } });
  assert.equal(keyless.status, 401);
  assert.equal(keyless.headers['access-control-allow-origin'], page, 'so that the page can read why');
  const stream = await stoker.stream('e');
  await readAll(stream.res);
  for (const other of ['https://evil.example.com', 'https://console.example.com.evil.com', 'http://console.example.com', 'null', '*']) {
    const refused = await preflight(other);
    assert.equal(refused.status, 401, other);
    for (const got of [refused, await stoker.chat('e', {}, { origin: other })]) {
      assert.ok(!Object.keys(got.headers).some((name) => name.startsWith('access-control-')), other);
    }
  }
  assert.equal((await preflight(page, '/nowhere')).status, 401);
});
