// TLS where the gateway ends it (A30): Node's and curl's clients, the scanner where it is installed,
// and certificates that change while connections go on.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { makeCertificate, putCertificate } from './lib/certificates.mjs';
import { Stoker, cli, echo, longEnough, patience, readAll, sized, sseEvents, until } from './lib/stoker.mjs';

async function start(t, config = {}, options = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-tls-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const files = makeCertificate(folder, 'first');
  const stoker = await Stoker.start(t, { tls: { certificate: files.crt, key: files.key },
    deployments: { e: echo({ tokens: 20, token_delay: '5ms' }) }, ...config }, options);
  const { host, port } = new URL(stoker.url);
  return { stoker, folder, files, host, port: Number(port), ca: fs.readFileSync(files.crt) };
}

/// One request with Node's client; gives {status, headers, res, socket}.
function ask(server, { agent, body, pathname = '/v1/chat/completions', headers = {} } = {}) {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const req = https.request({ host: '127.0.0.1', port: server.port, path: pathname, agent: agent ?? false, ca: server.ca,
      method: payload ? 'POST' : 'GET', headers: { ...server.stoker.headers, ...(payload ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) } : {}), ...headers } },
    (res) => resolve({ status: res.statusCode, headers: res.headers, res, socket: req.socket }));
    req.on('error', reject);
    req.end(payload);
  });
}
const say = (rest = {}) => ({ model: 'e', messages: [{ role: 'user', content: 'one two three' }], ...rest });

test('requests, streams and kept connections over TLS, with Node and curl', async (t) => {
  const server = await start(t);
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca: server.ca });
  t.after(() => agent.destroy());
  const sockets = new Set();
  for (let i = 0; i < 3; ++i) {
    const answer = await ask(server, { agent, body: say() });
    sockets.add(answer.socket);
    assert.equal(answer.status, 200);
    assert.equal(JSON.parse(await readAll(answer.res)).usage.completion_tokens, 20);
  }
  assert.equal(sockets.size, 1, 'one connection for all');
  const streamed = await ask(server, { agent, body: say({ stream: true }) });
  const events = sseEvents(await readAll(streamed.res));
  assert.equal(events.at(-1).data, '[DONE]');
  const curl = execFileSync('curl', ['-sS', '--cacert', server.files.crt, '-H', `Authorization: Bearer ${server.stoker.key}`,
    '-H', 'Content-Type: application/json', '-d', JSON.stringify(say()), `https://127.0.0.1:${server.port}/v1/chat/completions`], { encoding: 'utf8' });
  assert.equal(JSON.parse(curl).usage.completion_tokens, 20);
  const protocol = execFileSync('curl', ['-sS', '--http2', '--cacert', server.files.crt, '-o', '/dev/null', '-w', '%{http_version} %{http_code}',
    `https://127.0.0.1:${server.port}/healthz`], { encoding: 'utf8' });
  assert.equal(protocol, '1.1 200', 'a client that would like HTTP/2 gets 1.1');
  const lines = await cli(['ps', '--json', '--config', server.stoker.configFile, '--url', `https://127.0.0.1:${server.port}`]);
  assert.equal(lines.code, 0, lines.stderr);
  assert.equal(JSON.parse(lines.stdout).deployments[0].name, 'e');
  const unknown = await cli(['ps', '--url', `https://127.0.0.1:${server.port}`], { env: { STOKER_API_KEY: server.stoker.key } });
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /TLS: .*self-signed/);
});

test('plain HTTP on the TLS port is told what to write; a TLS hello on a plain port gets a 400', async (t) => {
  const server = await start(t);
  const talk = async (port, bytes) => {
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (part) => { text += part; });
    socket.on('error', () => {});
    await once(socket, 'connect');
    socket.write(bytes);
    await once(socket, 'close');
    return text;
  };
  const plain = await talk(server.port, 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(plain, /^HTTP\/1\.1 400 /);
  assert.match(plain, /https:\/\//);
  const other = await Stoker.start(t, { deployments: { e: echo() } });
  const client = tls.connect({ port: Number(new URL(other.url).port), host: '127.0.0.1', rejectUnauthorized: false });
  const [error] = await once(client, 'error');
  assert.ok(error);
  assert.equal((await other.call('/healthz')).status, 200);
});

test('a certificate that changes is taken into use without dropping a stream; a broken one is told and not used', async (t) => {
  const server = await start(t);
  const subject = async () => {
    const socket = tls.connect({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const name = socket.getPeerCertificate().subject.CN;
    socket.destroy();
    return name;
  };
  const eventsNamed = async (name) => {
    const answer = await ask({ ...server, ca: fs.readFileSync(path.join(server.folder, 'current.crt')) }, { pathname: '/api/v1/events?limit=4096' });
    return JSON.parse(await readAll(answer.res)).events.filter((e) => e.event === name);
  };
  fs.copyFileSync(server.files.crt, path.join(server.folder, 'current.crt'));
  const held = await ask(server, { body: say({ stream: true, max_tokens: 2000 }) });
  let text = '';
  held.res.on('data', (part) => { text += part; });
  await until('it streams', () => text.length > 100);
  assert.equal(await subject(), 'first');

  const second = makeCertificate(server.folder, 'second');
  putCertificate(second, server.files);
  await until('new connections get the second one', async () => await subject() === 'second');
  fs.copyFileSync(second.crt, path.join(server.folder, 'current.crt'));
  assert.equal((await eventsNamed('certificate_replaced')).length, 1);

  fs.writeFileSync(server.files.crt, 'nonsense');
  await until('the broken one is told', async () => (await eventsNamed('certificate_unusable')).length === 1);
  await server.stoker.logs(/event=certificate_unusable/);
  assert.equal(await subject(), 'second');

  // At once, on request.
  const third = makeCertificate(server.folder, 'third');
  putCertificate(third, server.files);
  server.stoker.signal('SIGHUP');
  await until('new connections get the third one', async () => await subject() === 'third');
  if (!held.res.complete) await once(held.res, 'end');
  assert.equal(sseEvents(text).at(-1).data, '[DONE]', 'the stream went on through all of it');
});

test('a server whose certificate cannot be used does not start: exit code 2, and `check` says the same', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-tls-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const first = makeCertificate(folder, 'first');
  const other = makeCertificate(folder, 'other');
  const file = path.join(folder, 'stoker.yaml');
  for (const [given, why] of [[{ certificate: first.crt, key: other.key }, /is not the key of/], [{ certificate: first.crt }, /has no key/],
    [{ certificate: path.join(folder, 'none'), key: first.key }, /is no file/]]) {
    fs.writeFileSync(file, JSON.stringify({ listen: '127.0.0.1:0', state_dir: path.join(folder, 'state'), tls: given, deployments: { e: echo() } }));
    for (const command of ['serve', 'check']) {
      const { code, stderr } = await cli([command, '--config', file]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, why, command);
    }
  }
});

test('500 handshakes that are never finished are cut at 10 s, and hold nobody up', { timeout: 120_000 }, async (t) => {
  const server = await start(t);
  const hello = Buffer.from('16030100c8010000c40303', 'hex');
  const begun = Date.now();
  const ends = [];
  for (let i = 0; i < 500; ++i) {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.on('data', () => {});
    socket.write(hello.subarray(0, i % (hello.length + 1)));
    ends.push(once(socket, 'close').then(() => Date.now() - begun));
  }
  assert.equal((await ask(server, { body: say() })).status, 200);
  const times = await Promise.all(ends);
  assert.ok(Math.min(...times) > 9_000, `none before its time: ${Math.min(...times)} ms`);
  assert.ok(Math.max(...times) < 10_000 + 20_000 * patience, `all of them: ${Math.max(...times)} ms`);
  assert.equal((await ask(server, { pathname: '/healthz' })).status, 200);
});

const scanner = spawnSync('sslscan', ['--version']).status === 0;
test('a scanner finds TLS 1.2 and 1.3 with AEAD ciphers only', { skip: !scanner && 'sslscan is not installed' }, async (t) => {
  const server = await start(t);
  const text = execFileSync('sslscan', ['--no-colour', `127.0.0.1:${server.port}`], { encoding: 'utf8' });
  for (const old of ['SSLv2', 'SSLv3', 'TLSv1.0', 'TLSv1.1']) assert.match(text, new RegExp(`${old.replace('.', '\\.')}\\s+disabled`));
  for (const good of ['TLSv1.2', 'TLSv1.3']) assert.match(text, new RegExp(`${good.replace('.', '\\.')}\\s+enabled`));
  assert.doesNotMatch(text, /Compression enabled/);
  assert.match(text, /Session renegotiation not supported|Secure session renegotiation supported/);
  const ciphers = [...text.matchAll(/^\s*(?:Preferred|Accepted)\s+TLSv\S+\s+\d+ bits\s+(\S+)/gm)].map((m) => m[1]);
  assert.ok(ciphers.length >= 3, text);
  for (const cipher of ciphers) assert.match(cipher, /GCM|CHACHA20/, cipher);
  assert.doesNotMatch(text, /(?<!not )vulnerable to heartbleed/);
});

// Minutes of handshakes: only in the long form.
const whole = sized({ quick: undefined, full: spawnSync('testssl', ['--version']).status === 0 });
const whyNot = whole === undefined ? 'only with STOKER_TEST_LONG' : 'testssl.sh is not installed';
test('testssl.sh finds nothing above LOW', { skip: !whole && whyNot, timeout: longEnough }, async (t) => {
  const server = await start(t);
  const file = path.join(server.folder, 'findings.json');
  spawnSync('testssl', ['--warnings', 'batch', '--quiet', '--severity', 'MEDIUM', '--jsonfile', file, `https://127.0.0.1:${server.port}`]);
  // What it says of the certificate is true of this test's own: nobody signed it, and it ends soon.
  const all = JSON.parse(fs.readFileSync(file, 'utf8'));
  assert.ok(all.some(({ id }) => id === 'cert_chain_of_trust'), 'it looked');
  const findings = all.filter(({ id }) => !id.startsWith('cert_'));
  assert.deepEqual(findings.map(({ id, severity, finding }) => `${severity} ${id}: ${finding}`), []);
});

test('a server that ends says goodbye to TLS clients, after their answers', async (t) => {
  const server = await start(t);
  const held = await ask(server, { body: say({ stream: true, max_tokens: 100 }) });
  let text = '';
  held.res.on('data', (part) => { text += part; });
  await until('it streams', () => text.length > 100);
  server.stoker.signal('SIGTERM');
  await once(held.res, 'end');
  assert.equal(sseEvents(text).at(-1).data, '[DONE]');
  assert.deepEqual(await server.stoker.exited, { code: 0, signal: null });
});
