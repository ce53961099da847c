// WebSockets through /invoke, with the unmodified `ws` client and an engine that knows nothing of
// Stoker: one request on record that costs the device until it closes.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import WebSocket from 'ws';
import { Stoker, echo, makeKey, repository, request, until } from './lib/stoker.mjs';

const engine = (more = {}) => ({
  runtime: 'command', command: ['/usr/bin/node', '{model}', '{port}'],
  model: path.join(repository, 'tests/contract/servers/websocket_server.mjs'), concurrency: 8, autoscaling: { max_instances: 1 }, ...more,
});
const connect = (stoker, target = '/', key = stoker.key) =>
  new WebSocket(`${stoker.url.replace('http', 'ws')}/invoke/e${target}`, { headers: { authorization: `Bearer ${key}` }, perMessageDeflate: false });
const openIn = async (stoker) => (await stoker.call('/invoke/e/open')).json.open;
const row = (stoker, fits) => until('its row', async () => (await stoker.ledger()).find((each) => each.route === 'invoke' && fits(each)));
/// The status that the handshake is answered with.
const refusal = async (socket) => {
  socket.on('error', () => {});
  const [, response] = await once(socket, 'unexpected-response');
  return response.statusCode;
};

test('frames go both ways, and the whole is one request whose device time is that of the socket', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: engine() } });
  const socket = connect(stoker);
  const [[head]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'open')]);
  assert.match(head.headers['x-request-id'], /^req-/);
  assert.equal(head.headers['x-stoker-usage'], undefined);
  const begun = performance.now();
  assert.equal((await stoker.deployment('e')).running, 1);
  for (const text of ['an owl', 'x'.repeat(300_000), '']) {
    socket.send(text);
    assert.equal((await once(socket, 'message'))[0].toString(), text);
  }
  socket.ping();
  await once(socket, 'pong');
  socket.close(1000);
  const [code] = await once(socket, 'close');
  const lasted = performance.now() - begun;
  assert.equal(code, 1000);
  const { json } = await until('its row', async () => { const got = await stoker.call(`/api/v1/requests/${head.headers['x-request-id']}`); return got.status === 200 ? got : undefined; });
  assert.equal(json.outcome, 'completed');
  assert.equal(json.status, 101);
  assert.ok(json.usage.device_ms >= Math.floor(lasted) - 50 && json.usage.device_ms <= lasted + 5000, `${json.usage.device_ms} ms of ${lasted}`);
  await until('nothing runs', async () => (await stoker.deployment('e')).running === 0);
});

test('an engine that closes ends the request; a client that goes cancels it', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: engine() } });
  const closed = connect(stoker, '/close');
  await once(closed, 'open');
  closed.send('x');
  assert.equal((await once(closed, 'close'))[0], 1000);
  await row(stoker, (each) => each.outcome === 'completed');
  const left = connect(stoker);
  await once(left, 'open');
  assert.equal(await openIn(stoker), 1);
  left.terminate();
  await until('the engine is told', async () => (await openIn(stoker)) === 0);
  await row(stoker, (each) => each.outcome === 'cancelled');
});

test('a client that does not read holds up the engine, not the memory of the server', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: engine() } });
  const socket = connect(stoker, '/flood');
  await once(socket, 'open');
  socket.pause();
  const resident = () => Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${stoker.process.pid}/status`, 'utf8'))[1]) / 1024;
  const before = resident();
  // Long enough for gigabytes, were nobody held up.
  let last = -1;
  await until('it stands still', async () => {
    const now = resident();
    const still = now === last;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 250));
    return still;
  });
  assert.ok(resident() - before < 32, `${before} MiB grew to ${resident()} MiB`);
  socket.terminate();
  await row(stoker, (each) => each.outcome === 'cancelled');
});

test('what an engine answers instead goes on; other protocols and other routes are refused', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: engine(), plain: echo() } });
  assert.equal(await refusal(connect(stoker, '/refuse')), 403);
  assert.equal(await refusal(connect(stoker, '/', 'wrong')), 401);
  const { key } = await makeKey(stoker, '--rpm', '1');
  const first = connect(stoker, '/', key);
  await once(first, 'open');
  assert.equal(await refusal(connect(stoker, '/', key)), 429);
  first.terminate();
  const status = async (target, headers, method = 'GET') => (await request(stoker.url + target, { method, headers: { ...stoker.headers, connection: 'Upgrade', ...headers } })).status;
  assert.equal(await status('/invoke/e/', { upgrade: 'h2c' }), 400);
  assert.equal(await status('/invoke/e/', { upgrade: 'websocket, h2c' }), 400);
  assert.equal(await status('/invoke/e/', { upgrade: 'websocket' }, 'POST'), 400);
  assert.equal(await status('/v1/models', { upgrade: 'websocket' }), 400);
  // A worker that does not know the protocol answers as if nobody had asked.
  assert.equal(await refusal(new WebSocket(`${stoker.url.replace('http', 'ws')}/invoke/plain/x`, { headers: stoker.headers })), 200);
});

test('a worker that dies breaks the socket off', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: engine() } });
  const socket = connect(stoker);
  await once(socket, 'open');
  process.kill((await stoker.ready('e')).pid, 'SIGKILL');
  const [code] = await once(socket, 'close');
  assert.equal(code, 1006, 'no proper end');
  // Whether its end or the word of its death comes first is not to be told here.
  await row(stoker, (each) => each.status === 101 && ['failed', 'completed'].includes(each.outcome));
  await until('its slot is free', async () => (await stoker.deployment('e')).running === 0);
});
