// The cases A1 to A25 of RELIABILITY.md over raw sockets. The worker's own counter is the oracle: what
// the gateway refuses has not reached it, what it accepts has reached it once.
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import { residentBytes } from './lib/processes.mjs';
import { Stoker, echo, patience, request, shadow, until } from './lib/stoker.mjs';

const body = JSON.stringify({ model: 'e', messages: [{ role: 'user', content: 'one two three' }] });
const length = Buffer.byteLength(body);
const chunk = (text, extension = '') => `${Buffer.byteLength(text).toString(16)}${extension}\r\n${text}\r\n`;
const chunked = `${chunk(body)}0\r\n\r\n`;
/// Not events.once(), which takes an error for a failure: here a reset is an end too.
const closed = (socket) => new Promise((resolve) => { socket.on('close', resolve); });
const moved = (socket) => new Promise((resolve) => { for (const event of ['drain', 'data', 'close']) socket.once(event, resolve); });
const latin = (text) => Buffer.from(text, 'latin1');

/// A server with one warm echo instance, and raw connections to it.
class Target {
  static async start(t, config = {}) {
    const target = new Target();
    target.stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 1 }) }, ...config });
    target.port = Number(new URL(target.stoker.url).port);
    assert.equal((await target.stoker.chat('e')).status, 200);
    target.instance = await target.stoker.ready('e');
    target.key = `Authorization: Bearer ${target.stoker.key}\r\n`;
    return target;
  }
  async served() { return (await this.stoker.stats(this.instance)).requests; }
  /// A whole request with the given framing fields and what follows the head.
  post(fields, rest, { start = 'POST /v1/chat/completions HTTP/1.1', host = 'Host: x\r\n' } = {}) {
    return `${start}\r\n${host}${this.key}Content-Type: application/json\r\n${fields}\r\n${rest}`;
  }
  get good() { return this.post(`Content-Length: ${length}\r\n`, body); }
  /// Sends bytes as they are; gives all that comes until the server closes.
  async talk(...parts) {
    const socket = net.connect(this.port, '127.0.0.1');
    let text = '';
    socket.setTimeout(15_000 * patience, () => socket.destroy());  // what is accepted is kept open
    socket.on('data', (part) => { text += part.toString('latin1'); });
    socket.on('error', () => {});  // a reset is an end too
    await once(socket, 'connect');
    for (const part of parts) socket.write(typeof part === 'string' ? latin(part) : part);
    await closed(socket);
    return text;
  }
  /// A clean refusal: that status, a closed connection, nothing at the worker, the next one served.
  async refuses(name, bytes, statuses, { answers = 1 } = {}) {
    const before = await this.served();
    const text = await this.talk(bytes);
    const heads = [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((m) => Number(m[1]));
    assert.equal(heads.length, answers, `${name}: one answer: ${text.slice(0, 300)}`);
    assert.ok([statuses].flat().includes(heads.at(-1)), `${name}: ${heads.at(-1)} instead of ${statuses}`);
    assert.match(text, /\r\nConnection: close\r\n/i, name);
    assert.equal(await this.served(), before + answers - 1, `${name}: nothing was forwarded`);
  }
  async accepts(name, bytes, answers = 1) {
    const before = await this.served();
    const text = await this.talk(bytes);
    assert.equal([...text.matchAll(/HTTP\/1\.1 200 /g)].length, answers, `${name}: ${text.slice(0, 300)}`);
    assert.equal(await this.served(), before + answers, name);
  }
}
const last = 'Connection: close\r\n';

const framing = (t) => [
  ['A1 CL.TE', t.post(`Content-Length: ${length}\r\nTransfer-Encoding: chunked\r\n`, chunked), 400],
  ['A1 TE.CL', t.post(`Transfer-Encoding: chunked\r\nContent-Length: 4\r\n`, chunked), 400],
  ['A2 two equal', t.post(`Content-Length: ${length}\r\nContent-Length: ${length}\r\n`, body), 400],
  ['A2 two different', t.post(`Content-Length: ${length}\r\nContent-Length: 5\r\n`, body), 400],
  ['A2 a list of equal', t.post(`Content-Length: ${length}, ${length}\r\n`, body), 400],
  ['A2 a list of different', t.post(`Content-Length: 5,6\r\n`, body), 400],
  ...['+5', '-5', '0x5', '5 5', '5_0', '', '\x005', '5\x00', '5;', '５', 'five', '5.0', '1e1'].map((value) => [`A3 ${JSON.stringify(value)}`, t.post(`Content-Length: ${value}\r\n`, body), 400]),
  ['A3 2^63', t.post('Content-Length: 9223372036854775808\r\n', body), [400, 413]],
  ['A3 2^64+5', t.post('Content-Length: 18446744073709551621\r\n', body), [400, 413]],
  ['A3 too large', t.post('Content-Length: 9223372036854775807\r\n', body), 413],
  ...['chunked, chunked', ',chunked', 'chunked;x', 'identity', '\x0bchunked', 'chunked\x00', 'chunked,', 'chunked x'].map((value) => [`A5 ${JSON.stringify(value)}`, t.post(`Transfer-Encoding: ${value}\r\n`, chunked), [400, 501]]),
  ['A5 xchunked', t.post('Transfer-Encoding: xchunked\r\n', chunked), [400, 501]],
  ['A5 gzip', t.post('Transfer-Encoding: gzip\r\n', chunked), 501],
  ['A5 gzip, chunked', t.post('Transfer-Encoding: gzip, chunked\r\n', chunked), 501],
  ['A5 two fields', t.post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', chunked), 400],
  ['A6 HTTP/1.0', t.post('Transfer-Encoding: chunked\r\n', chunked, { start: 'POST /v1/chat/completions HTTP/1.0' }), 400],
];
const syntax = (t) => [
  ['A7 a continued line', t.post(`X-A: 1\r\n 2\r\nContent-Length: ${length}\r\n`, body), 400],
  ['A7 a continued line with a tab', t.post(`X-A: 1\r\n\t2\r\nContent-Length: ${length}\r\n`, body), 400],
  ['A7 space before the colon', t.post(`Content-Length : ${length}\r\n`, body), 400],
  ['A7 space before the first field', t.post(`Content-Length: ${length}\r\n`, body, { host: ' Host: x\r\n' }), 400],
  ['A7 no colon', t.post(`Nonsense\r\nContent-Length: ${length}\r\n`, body), 400],
  ['A7 no name', t.post(`: x\r\nContent-Length: ${length}\r\n`, body), 400],
  ...[0x00, 0x01, 0x08, 0x0b, 0x1f, 0x7f, 0x80, 0xff, 0x28, 0x40, 0x5b, 0x7b].map((code) => [`A9 byte ${code} in a name`, t.post(`X${String.fromCharCode(code)}A: 1\r\nContent-Length: ${length}\r\n`, body), 400]),
  ['A9 NUL in a value', t.post(`X-A: 1\x002\r\nContent-Length: ${length}\r\n`, body), 400],
  ['A9 CR in a value', t.post(`X-A: 1\r2\r\nContent-Length: ${length}\r\n`, body), 400],
  ['A9 LF in a value', t.post(`X-A: 1\n2\r\nContent-Length: ${length}\r\n`, body), 400],
  ['A9 LF for CRLF', t.good.replaceAll('\r\n', '\n'), 400],
  ['A10 no Host', t.post(`Content-Length: ${length}\r\n`, body, { host: '' }), 400],
  ['A10 two Hosts', t.post(`Content-Length: ${length}\r\n`, body, { host: 'Host: x\r\nHost: x\r\n' }), 400],
  ...['x/y', 'u@x', 'x y', 'x?y', 'x#y', '[::1', 'x:y'].map((host) => [`A10 Host: ${host}`, t.post(`Content-Length: ${length}\r\n`, body, { host: `Host: ${host}\r\n` }), 400]),
  ['A11 5 KiB of extension', t.post('Transfer-Encoding: chunked\r\n', `${chunk(body, `;a=${'b'.repeat(5000)}`)}0\r\n\r\n`), 400],
  ['A11 CR in an extension', t.post('Transfer-Encoding: chunked\r\n', `${chunk(body, ';a=\rb')}0\r\n\r\n`), 400],
  ['A11 a quoted newline', t.post('Transfer-Encoding: chunked\r\n', `${chunk(body, ';a="\r\nb"')}0\r\n\r\n`), 400],
  ...['-2', '0x10', '', ' 5', '+5', '10000000000000000', 'ffffffffffffffff1', 'g'].map((size) => [`A11 chunk size ${JSON.stringify(size)}`, t.post('Transfer-Encoding: chunked\r\n', `${size}\r\n${body}\r\n0\r\n\r\n`), [400, 413]]),
  ['A11 chunks without an end', t.post('Transfer-Encoding: chunked\r\n', `${length.toString(16)}\r\n${body}X\r\n0\r\n\r\n`), 400],
];
const limits = (t) => [
  ['A14 101 fields', t.post(`${Array.from({ length: 101 }, (_, i) => `X-${i}: y\r\n`).join('')}Content-Length: ${length}\r\n`, body), 431],
  ['A14 33 KiB of header', t.post(`${Array.from({ length: 33 }, (_, i) => `X-${i}: ${'y'.repeat(1015)}\r\n`).join('')}Content-Length: ${length}\r\n`, body), 431],
  ['A14 a target of 9 KiB', t.post(`Content-Length: ${length}\r\n`, body, { start: `POST /v1/chat/completions?${'a'.repeat(9 << 10)} HTTP/1.1` }), 414],
  ['A15 a declared body', t.post('Content-Length: 40000000\r\n', ''), 413],
];
const protocols = (t) => [
  ['A23 another authority', t.post(`Content-Length: ${length}\r\n`, body, { start: 'POST http://other/v1/chat/completions HTTP/1.1' }), 400],
  ['A24 CONNECT', `CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n${t.key}${last}\r\n`, [400, 405, 501]],
  ['A24 TRACE', t.post(last, '', { start: 'TRACE /v1/chat/completions HTTP/1.1' }), [400, 405, 501]],
  ['A24 OPTIONS *', t.post(last, '', { start: 'OPTIONS * HTTP/1.1' }), [400, 404, 405]],
  ['A24 Upgrade: h2c', t.post(`Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: ${length}\r\n`, body), [400, 501]],
  ['A24 HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00', [400, 505]],
  ['A24 TLS hello', '\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\r\n\r\n', 400],
  ['A24 HTTP/0.9', 'GET /v1/models\r\n\r\n', [400, 505]],
  ['A24 HTTP/1.2', t.good.replace('HTTP/1.1', 'HTTP/1.2'), [400, 505]],
  ['A24 HTTP/2.0', t.good.replace('HTTP/1.1', 'HTTP/2.0'), 505],
  ['A24 http/1.1', t.good.replace('HTTP/1.1', 'http/1.1'), [400, 505]],
];

for (const [what, cases] of [['framing (A1-A6)', framing], ['syntax (A7-A11)', syntax], ['limits (A14, A15)', limits], ['protocols (A23, A24)', protocols]]) {
  test(`${what}: refused cleanly, and nothing is forwarded`, async (t) => {
    const target = await Target.start(t);
    for (const [name, bytes, statuses] of cases(target)) await target.refuses(name, bytes, statuses);
    await target.accepts('after all of them', target.good.replace(`Content-Length`, `${last}Content-Length`));
  });
}

test('short chunk extensions are ignored and the body is right (A11)', async (t) => {
  const target = await Target.start(t);
  for (const extension of [';a', ';a=b', ';a="b c"']) {
    await target.accepts(extension, target.post(`${last}Transfer-Encoding: chunked\r\n`, `${chunk(body, extension)}0${extension}\r\n\r\n`));
  }
  await target.accepts('an absolute target of this host (A23)', target.post(`${last}Content-Length: ${length}\r\n`, body, { start: 'POST http://x/v1/chat/completions HTTP/1.1' }));
});

test('a header line of 10 MiB is refused at 32 KiB and holds no memory (A12)', async (t) => {
  const target = await Target.start(t);
  await target.refuses('once, so that what is made on first use is there', target.post(`X: ${'x'.repeat(40_000)}\r\n`, ''), 431);
  const before = residentBytes(target.stoker.process.pid);
  for (let i = 0; i < 5; ++i) {
    assert.match(await target.talk('GET /healthz HTTP/1.1\r\nHost: x\r\nX: ', Buffer.alloc(10 << 20, 'x')), /^(HTTP\/1\.1 431 |$)/);
  }
  assert.ok(residentBytes(target.stoker.process.pid) - before < shadow * (1 << 20));
});

test('a chunked body is cut at the limit (A15)', async (t) => {
  const target = await Target.start(t);
  const before = await target.served();
  const socket = net.connect(target.port, '127.0.0.1');
  t.after(() => socket.destroy());
  let text = '';
  socket.on('data', (part) => { text += part; });
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.write(target.post('Transfer-Encoding: chunked\r\n', ''));
  let sent = 0;
  while (text === '' && sent < 64) {
    const room = socket.write(chunk('x'.repeat(1 << 20)));
    ++sent;
    if (!room) await moved(socket);
  }
  await until('it is answered', () => text !== '');
  assert.match(text, /^HTTP\/1\.1 413 /);
  assert.ok(sent >= 32, `${sent} MiB`);
  assert.equal(await target.served(), before);
});

test('pipelining: fifty answers in order; nothing behind a malformed one is read (A19)', async (t) => {
  const target = await Target.start(t);
  const many = Array.from({ length: 50 }, (_, i) => `GET /v1/models/${i === 49 ? 'e' : `n${i}`} HTTP/1.1\r\nHost: x\r\n${target.key}${i === 49 ? last : ''}\r\n`).join('');
  const text = await target.talk(many);
  let at = 0;
  for (let i = 0; i < 49; ++i) {
    at = text.indexOf(`'n${i}'`, at);
    assert.ok(at > 0, `answer ${i} comes after the one before`);
  }
  assert.equal([...text.matchAll(/HTTP\/1\.1 /g)].length, 50);
  await target.accepts('three that run', target.good + target.good + target.post(`${last}Content-Length: ${length}\r\n`, body), 3);
  await target.refuses('a good one, a bad one, a good one', `${target.good}GET / HTTP/1.1\r\nHost x\r\n\r\n${target.good}`, 400, { answers: 2 });
});

test('Expect: 100-continue only for what will be read (A21)', async (t) => {
  const target = await Target.start(t);
  const expecting = (fields, expectation = '100-continue') => `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n${fields}Content-Type: application/json\r\n${last}Expect: ${expectation}\r\n`;
  const socket = net.connect(target.port, '127.0.0.1');
  let text = '';
  socket.on('data', (part) => { text += part; });
  socket.write(`${expecting(target.key)}Content-Length: ${length}\r\n\r\n`);
  await until('100 comes', () => text === 'HTTP/1.1 100 Continue\r\n\r\n');
  socket.write(body);
  await closed(socket);
  assert.match(text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /);
  await target.refuses('a wrong key', `${expecting('Authorization: Bearer sk-no\r\n')}Content-Length: ${length}\r\n\r\n`, 401);
  await target.refuses('too large', `${expecting(target.key)}Content-Length: 40000000\r\n\r\n`, 413);
  await target.refuses('another expectation', `${expecting(target.key, 'a-miracle')}Content-Length: ${length}\r\n\r\n${body}`, 417);
});

test('no spelling of a path reaches an admin route or climbs out of a pass-through (A25)', async (t) => {
  const target = await Target.start(t);
  const made = await target.stoker.post('/api/v1/keys', { name: 'only runs', scopes: ['inference'] });
  const key = made.json.key;
  const before = await target.served();
  const paths = ['/api%2fv1/ps', '/%61pi/v1/ps', '/api/%76%31/ps', '/v1/../api/v1/ps', '/v1/..;/api/v1/ps', '/v1/%2e%2e/api/v1/ps', '/v1/%2e%2e%2fapi/v1/ps',
    '//api/v1/ps', '/./api/v1/ps', '/api//v1/ps', '/api/v1/ps/', '/api/v1/ps%00', '/api/v1%00/ps', '/api\\v1\\ps', '/api/v1/ps;x', '/v1/%c0%ae%c0%ae/api/v1/ps', '/API/v1/ps',
    '/invoke/e/../../api/v1/ps', '/invoke/e/%2e%2e/%2e%2e/api/v1/ps', '/invoke/e/..;/x', '/invoke/e/a%00b', '/invoke/e/a\\b', '/invoke/e//x', '/invoke/e/%c0%ae%c0%ae/x', '/invoke/%2e%2e/x', '/invoke/e/%zz'];
  for (const path of paths) {
    for (const method of ['GET', 'POST']) {
      const text = await target.talk(`${method} ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\n${last}Content-Length: 2\r\n\r\n{}`);
      assert.match(text, /^HTTP\/1\.1 (400|403|404) /, `${method} ${path}`);
    }
  }
  assert.equal((await request(`${target.stoker.url}/api/v1/ps`, { headers: { authorization: `Bearer ${key}` } })).status, 403);
  assert.equal(await target.served(), before);
});

test('a thousand clients that send their header or their body too slowly are cut, and hold nobody up (A17, A18)', { timeout: 180_000 }, async (t) => {
  const target = await Target.start(t);
  const before = await target.served();
  const memory = residentBytes(target.stoker.process.pid);
  const slow = (opening) => new Promise((resolve) => {
    const socket = net.connect(target.port, '127.0.0.1');
    const begun = Date.now();
    let text = '';
    const timer = setInterval(() => socket.write('x'), 5000);
    socket.on('data', (part) => { text += part; });
    socket.on('error', () => {});
    socket.on('close', () => { clearInterval(timer); resolve({ text, ms: Date.now() - begun }); });
    socket.write(opening);
  });
  const idle = await median(target);
  const heads = Array.from({ length: 1000 }, () => slow('GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: '));
  const bodies = Array.from({ length: 1000 }, () => slow(target.post('Content-Length: 100000\r\n', '')));
  const during = await median(target);
  t.diagnostic(`a request takes ${idle.toFixed(1)} ms, ${during.toFixed(1)} ms beside 2,000 slow ones`);
  assert.ok(residentBytes(target.stoker.process.pid) - memory < shadow * 2000 * (40 << 10));
  for (const ended of await Promise.all(heads)) {
    assert.match(ended.text, /^HTTP\/1\.1 408 /);
    assert.ok(ended.ms > 9_000 && ended.ms < 10_000 + 20_000 * patience, `${ended.ms} ms`);
  }
  for (const ended of await Promise.all(bodies)) assert.match(ended.text, /^HTTP\/1\.1 408 /);
  assert.equal(await target.served(), before + 40, 'only our own');
});

async function median(target) {
  const times = [];
  for (let i = 0; i < 20; ++i) {
    const begun = performance.now();
    assert.equal((await target.stoker.chat('e')).status, 200);
    times.push(performance.now() - begun);
  }
  return times.sort((a, b) => a - b)[10];
}

test('clients that do not read their streams are cut, and their generations with them (A18)', { timeout: 180_000 }, async (t) => {
  const clients = 100;
  const target = await Target.start(t, { deployments: { e: echo({ tokens: 1_000_000, token_delay: '0ms' }, { concurrency: clients }) } });
  const stalled = JSON.stringify({ model: 'e', stream: true, max_tokens: 1_000_000, messages: [{ role: 'user', content: 'x'.repeat(1000) }] });
  const sockets = Array.from({ length: clients }, () => {
    const socket = net.connect(target.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.pause();
    socket.write(target.post(`Content-Length: ${stalled.length}\r\n`, stalled));
    return socket;
  });
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  await target.stoker.activeBecomes(target.instance, clients, 30_000);
  await target.stoker.activeBecomes(target.instance, 0, 90_000);
  assert.equal((await target.stoker.stats(target.instance)).cancelled, clients);
  assert.equal((await target.stoker.chat('e', { max_tokens: 1 })).status, 200);
});
