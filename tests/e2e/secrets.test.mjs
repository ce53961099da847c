// What clients say stays between them and the models: every way in which a request can go wrong is
// taken with a known key and a known prompt, then everything that is written is searched for them (C14).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { once } from 'node:events';
import { test } from 'node:test';
import { Stoker, cli, echo, openStream, readAll, request, sendAndKeep, until } from './lib/stoker.mjs';

const prompt = 'violet-otter-7319';
const strange = 'sk-stranger-5527-5527-5527';

function filesBelow(folder) {
  return fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile()).map((e) => path.join(e.parentPath ?? e.path, e.name));
}

test('no key and no prompt is in any log, metric, event, ledger row or file, whatever goes wrong (C14)', async (t) => {
  const stoker = await Stoker.start(t, {
    log: { level: 'debug' },
    deployments: {
      good: echo({ tokens: 3 }), slow: echo({ tokens: 1000, token_delay: '20ms' }), full: echo({ tokens: 1000, token_delay: '20ms' }, { concurrency: 1, limits: { max_queued: 1 } }),
      broken: echo({ faults: { load_failed: 'model_broken' } }), crashes: echo({ tokens: 50, token_delay: '5ms', faults: { crash_at: 'token:3', signal: 11 } }),
      garbles: echo({ tokens: 9, faults: { garbage_at: 'stream' } }), lies: echo({ faults: { garbage_at: 'http' } }),
      late: echo({ tokens: 1000, token_delay: '20ms' }, { limits: { request_timeout: '300ms' } }),
      stuck: echo({ load_time: '60s' }, { limits: { queue_timeout: '300ms' } }),
    },
  });
  const made = await stoker.post('/api/v1/keys', { name: 'watched', scopes: ['inference'], limits: { requests_per_minute: 60 } });
  const key = made.json.key;
  assert.ok(key, made.text);
  const authorization = `Bearer ${key}`;
  const say = (model, rest = {}) => ({ model, messages: [{ role: 'user', content: prompt }], ...rest });
  const answers = [];  // bodies of errors that are not the model's own
  const ask = async (target, body, headers = {}, method = 'POST') => {
    const answer = await request(stoker.url + target, { method, body, headers: { authorization, ...headers } }).catch((error) => ({ status: 0, text: String(error) }));
    if (answer.status !== 200) answers.push(answer.text);
    return answer.status;
  };
  const chat = (body, headers) => ask('/v1/chat/completions', body, headers);

  // Who may not come in, with a key in each of the places where people put it.
  for (const headers of [{ authorization: `Bearer ${strange}` }, { authorization: strange }, { authorization: `Basic ${strange}` }]) assert.equal(await chat(say('good'), headers), 401);
  for (const name of ['x-api-key', 'api-key']) answers.push((await request(`${stoker.url}/v1/models`, { headers: { [name]: strange } })).text);
  assert.equal(await ask(`/v1/models?api_key=${strange}&key=${key}`, undefined, {}, 'GET'), 200);
  assert.equal(await ask('/api/v1/ps', undefined, {}, 'GET'), 403);
  assert.equal(await ask(`/nowhere/${key}?key=${key}`, undefined, {}, 'GET'), 404);
  // What is no request.
  assert.equal(await chat(`{"model":"good","messages":[{"content":"${prompt}"`), 400);
  assert.equal(await chat({ model: 7, messages: prompt }), 400);
  assert.equal(await chat(`{"model":"good","${prompt}":1,"${prompt}":2,"model":"good"}`), 400);
  assert.equal(await chat(say('good'), { 'content-type': `text/${prompt}` }), 415);
  assert.equal(await ask('/v1/chat/completions', say('good'), {}, 'PUT'), 405);
  assert.equal(await chat(say('nobody')), 404);
  assert.equal(await chat({ model: 'good', messages: `not a list: ${prompt}` }), 400);
  // What goes wrong while it runs.
  for (const model of ['broken', 'crashes', 'lies', 'late', 'stuck']) assert.notEqual(await chat(say(model)), 200, model);
  for (const model of ['crashes', 'garbles', 'late']) {
    const { res } = await openStream(`${stoker.url}/v1/chat/completions`, say(model, { stream: true }), { authorization });
    await readAll(res).catch(() => {});
  }
  const leaver = sendAndKeep(`${stoker.url}/v1/chat/completions`, say('slow'), { authorization });
  const holder = [sendAndKeep(`${stoker.url}/v1/chat/completions`, say('full'), { authorization })];
  await until('the first runs', async () => (await stoker.deployment('full')).running === 1);
  holder.push(sendAndKeep(`${stoker.url}/v1/chat/completions`, say('full'), { authorization }));
  await until('they run and wait', async () => (await stoker.deployment('slow')).running === 1 && (await stoker.deployment('full')).queued === 1);
  assert.equal(await chat(say('full')), 429);
  leaver.leave();
  holder.forEach((one) => one.leave());
  // What breaks off or makes no sense on the wire.
  const raw = async (bytes, end) => {
    const { hostname, port } = new URL(stoker.url);
    const socket = net.connect(Number(port), hostname);
    let text = '';
    socket.on('data', (part) => { text += part; });
    socket.on('error', () => {});
    await once(socket, 'connect');
    socket.write(bytes);
    if (end) socket.end();
    await once(socket, 'close');
    answers.push(text);
  };
  const head = `POST /v1/chat/completions?q=${prompt} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\n`;
  await raw(`${head}Content-Length: 900\r\n\r\n${JSON.stringify(say('good'))}`, true);
  await raw(`${head}X-${key}\r\n\r\n`);
  await raw(`${head}Content-Length: 40000000\r\n\r\n`);
  await raw(`${head}Transfer-Encoding: chunked\r\n\r\nzz ${prompt}\r\n`);
  await raw(`GARBAGE ${key} ${prompt}\r\n\r\n`);
  await raw(`${head}Content-Length: 5\r\nContent-Length: 5\r\n\r\n${prompt}`);
  // Too many at once for its key.
  let limited = 0;
  for (let i = 0; i < 80 && limited === 0; ++i) if (await chat(say('good')) === 429) limited = 1;
  assert.equal(limited, 1);
  // A configuration that is refused, with a secret in it.
  fs.writeFileSync(stoker.configFile, fs.readFileSync(stoker.configFile, 'utf8').replace('"threads": 2', `"threads": "${prompt.length}x", "nonsense": 1`));
  assert.equal((await stoker.call('/api/v1/reload', { method: 'POST' })).status, 422);

  const seen = [stoker.log, (await stoker.call('/metrics')).text, JSON.stringify(await stoker.events()), (await stoker.call('/api/v1/decisions?limit=10000')).text,
    JSON.stringify(await stoker.ledger()), JSON.stringify(await stoker.ps()), (await stoker.call('/api/v1/usage')).text, ...answers];
  for (const name of ['good', 'broken', 'crashes', 'garbles', 'lies', 'late']) seen.push((await stoker.call(`/api/v1/logs/${name}?lines=10000`)).text);
  assert.ok(seen.join().includes('request_ended'));
  stoker.signal('SIGTERM');
  await stoker.exited;
  const files = filesBelow(path.join(stoker.folder, 'state')).filter((file) => path.basename(file) !== 'admin.key');
  assert.ok(files.length > 3);
  for (const file of files) seen.push(fs.readFileSync(file, 'latin1'));
  for (const [what, secret] of [['the key', key], ['a stranger\'s key', strange], ['the prompt', prompt], ['the admin key', stoker.key]]) {
    const where = seen.findIndex((text) => text.includes(secret));
    assert.equal(where, -1, `${what} is in: ${where < 0 ? '' : seen[where].slice(Math.max(0, seen[where].indexOf(secret) - 200)).slice(0, 400)}`);
  }
});

test('the log has one line for each request that was admitted, with its id', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 3 }) } });
  const ids = [];
  for (let i = 0; i < 5; ++i) ids.push((await stoker.chat('e')).headers['x-request-id']);
  ids.push((await stoker.post('/invoke/e/x', { a: 1 })).headers['x-request-id']);
  await until('all are written', () => (stoker.log.match(/event=request_ended/g) ?? []).length === 6);
  const lines = stoker.log.split('\n').filter((line) => line.includes('event=request_ended')).map((line) => Object.fromEntries([...line.matchAll(/(\w+)=("[^"]*"|\S+)/g)].map((m) => [m[1], m[2]])));
  assert.deepEqual(lines.map((line) => line.request).sort(), [...ids].sort());
  for (const line of lines) for (const field of ['deployment', 'route', 'status']) assert.ok(line[field] !== undefined, `${field} in ${JSON.stringify(line)}`);
});
