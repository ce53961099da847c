// The door itself: more clients than descriptors, connections without end, pages of other origins.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import { descriptorCount, ownMemory, threadCount } from './lib/processes.mjs';
import { Stoker, echo, longEnough, quarantine, readAll, request, sized, sseEvents, until } from './lib/stoker.mjs';

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
  assert.ok(descriptorCount(pid) < limit, 'some are kept for workers and files');
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

test('connections and streams that come and go leave nothing behind (R2)', { timeout: longEnough }, async (t) => {
  const { connections, streams } = sized({ quick: { connections: 10_000, streams: 200 }, full: { connections: 100_000, streams: 10_000 } });
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 50, token_delay: '1ms' }, { concurrency: 64 }) } });
  const { pid } = stoker.process;
  const port = Number(new URL(stoker.url).port);
  const come = async (count) => {
    for (let begun = 0; begun < count; begun += 100) {
      await Promise.all(Array.from({ length: 100 }, async (_, i) => {
        const socket = net.connect(port, '127.0.0.1');
        socket.on('error', () => {});
        await once(socket, 'connect');
        if (i % 3 === 1) socket.write('GET /healthz HT');
        if (i % 3 === 2) socket.resetAndDestroy(); else socket.destroy();
      }));
    }
  };
  const leaveStreams = async (count) => {
    const each = async () => { for (let i = 0; i < count / 8; ++i) (await stoker.stream('e')).leave(); };
    await Promise.all(Array.from({ length: 8 }, each));
  };
  const quiet = async () => {
    const [instance] = (await stoker.ps()).instances;
    await stoker.activeBecomes(instance, 0);
  };
  // What is made once is there.
  await come(1000);
  await leaveStreams(sized({ quick: 200, full: 5000 }));
  await quiet();
  const before = { descriptors: descriptorCount(pid), threads: threadCount(pid), memory: ownMemory(pid) };
  await come(connections);
  await leaveStreams(streams);
  await quiet();
  // Each of CLOSE_WAIT's sockets would be a descriptor.
  await until('all are gone', () => descriptorCount(pid) <= before.descriptors + 4);
  assert.equal(threadCount(pid), before.threads);
  const grown = ownMemory(pid) - before.memory;
  t.diagnostic(`${connections} connections and ${streams} streams: ${(grown / 1024).toFixed(0)} KiB`);
  assert.ok(grown < quarantine + (2 << 20), `the server grew by ${grown} bytes`);
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
