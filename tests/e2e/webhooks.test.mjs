// Webhooks of jobs: who receives them, how they are signed, what stops them (C5, C12, C13, C16 in
// RELIABILITY.md).
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { once } from 'node:events';
import { test } from 'node:test';
import { makeCertificate } from './lib/certificates.mjs';
import { Stoker, cli, echo, request, until } from './lib/stoker.mjs';

const post = (stoker, path, body, headers = {}) => request(`${stoker.url}/v2/${path}`, { method: 'POST', headers: { ...stoker.headers, ...headers }, body });
const secretOf = async (stoker, tenant) => {
  const done = await cli(['keys', 'webhook-secret', '--tenant', tenant, '--config', stoker.configFile, '--url', stoker.url]);
  assert.equal(done.code, 0, done.stderr);
  return done.stdout.trim();
};

/// A server that keeps what it is sent; `answer(call, number)` gives the status.
async function receiver(t, answer = () => 204) {
  const calls = [];
  const server = http.createServer((req, res) => {
    let body = '';
    req.on('data', (part) => { body += part; });
    req.on('end', () => {
      const call = { headers: req.headers, url: req.url, body };
      calls.push(call);
      const status = answer(call, calls.length);
      res.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return { calls, url: `http://127.0.0.1:${server.address().port}/hook?token=not-for-logs` };
}

/// What a receiver does with a call, as Standard Webhooks says: the signature, and not older than five minutes.
function verify(call, secret, now = Date.now() / 1000) {
  const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature } = call.headers;
  if (Math.abs(now - Number(at)) > 300) return false;
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64');
  const wanted = `v1,${crypto.createHmac('sha256', key).update(`${id}.${at}.${call.body}`).digest('base64')}`;
  return signature.length === wanted.length && crypto.timingSafeEqual(Buffer.from(signature), Buffer.from(wanted));
}

test('the end of a job is told, signed with the secret of its tenant; a replay is refused', async (t) => {
  const hook = await receiver(t);
  const stoker = await Stoker.start(t, { webhooks: { allow: ['127.0.0.0/8'] }, deployments: { e: echo({ tokens: 3 }) } });
  const { json } = await post(stoker, 'e/run', { input: { prompt: 'x' }, webhook: hook.url });
  const call = await until('it is called', () => hook.calls[0]);
  const body = JSON.parse(call.body);
  assert.equal(body.id, json.id);
  assert.equal(body.status, 'COMPLETED');
  assert.equal(body.output.usage.completion_tokens, 3);
  assert.equal(call.headers['content-type'], 'application/json');
  const secret = await secretOf(stoker, 'default');
  assert.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  assert.equal(verify(call, secret), true);
  assert.equal(verify(call, secret, Date.now() / 1000 + 301), false, 'replayed');
  assert.equal(verify({ ...call, body: `${call.body} ` }, secret), false);
  assert.equal(verify(call, await secretOf(stoker, 'acme')), false, 'of another tenant');

  await stoker.logs(/webhook_delivered/);
  // The secret is the same in the next life, and with what the URL holds it is in no log.
  stoker.signal('SIGKILL');
  await stoker.exited;
  await stoker.launch();
  assert.equal(await secretOf(stoker, 'default'), secret);
  for (const hidden of [secret, secret.slice(6), 'not-for-logs']) assert.equal(stoker.log.includes(hidden), false, hidden);
  const told = [(await stoker.call('/metrics')).text, JSON.stringify(await stoker.events()), JSON.stringify(await stoker.ledger())].join('\n');
  for (const hidden of [secret.slice(6), 'not-for-logs']) assert.equal(told.includes(hidden), false, hidden);
  for (const file of fs.readdirSync(path.join(stoker.folder, 'state'), { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue;
    const bytes = fs.readFileSync(path.join(file.parentPath ?? file.path, file.name));
    assert.equal(bytes.includes(secret.slice(6)), false, file.name);
  }
  assert.equal(hook.calls.length, 1);
});

test('what fails is tried again under the same id, also after a kill -9', async (t) => {
  const hook = await receiver(t, (call, number) => (number === 1 ? 500 : 204));
  const stoker = await Stoker.start(t, { webhooks: { allow: ['127.0.0.1'] }, deployments: { e: echo({ tokens: 1 }) } });
  const { json } = await post(stoker, 'e/run', { input: { prompt: 'x' }, webhook: hook.url });
  await stoker.logs(/event=webhook_failed/);
  stoker.signal('SIGKILL');
  await stoker.exited;
  await stoker.launch();
  const [first, second] = await until('it is called again', () => hook.calls.length === 2 && hook.calls);
  assert.equal(first.headers['webhook-id'], `${json.id}.0`);
  assert.equal(second.headers['webhook-id'], first.headers['webhook-id']);
  assert.equal(second.body, first.body);
  assert.ok(Number(second.headers['webhook-timestamp']) >= Number(first.headers['webhook-timestamp']) + 2);
  assert.equal(verify(second, await secretOf(stoker, 'default')), true);
});

test('nothing inside is reached: not by its address, not by a name, not by a redirect', async (t) => {
  const inside = await receiver(t);
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 1 }) } });
  const { port } = new URL(inside.url);
  for (const url of [inside.url, `http://localhost:${port}/`, `http://2130706433:${port}/`, `http://0177.0.0.1:${port}/`, `http://[::1]:${port}/`, `http://0.0.0.0:${port}/`,
    `http://[::ffff:127.0.0.1]:${port}/`, 'http://169.254.169.254/latest', 'http://10.0.0.1/', 'http://[fc00::1]/', 'file:///etc/passwd', 'gopher://example.com/', 'http://user@example.com/', 'nonsense']) {
    const refused = await post(stoker, 'e/run', { input: { prompt: 'x' }, webhook: url });
    assert.equal(refused.status, 400, url);
    assert.match(refused.json.error, /webhook/);
  }
  assert.equal(inside.calls.length, 0);
  const redirecting = await receiver(t, () => 302);
  const other = await Stoker.start(t, { webhooks: { allow: ['127.0.0.1'] }, deployments: { e: echo({ tokens: 1 }) } });
  await post(other, 'e/run', { input: { prompt: 'x' }, webhook: redirecting.url });
  await other.logs(/event=webhook_failed.*answered 302/);
  assert.deepEqual(redirecting.calls.map((call) => call.url), ['/hook?token=not-for-logs']);
});

test('who cannot show a certificate that is trusted is not told anything', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-hook-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const { crt, key } = makeCertificate(folder, 'hook');
  const calls = [];
  const server = https.createServer({ cert: fs.readFileSync(crt), key: fs.readFileSync(key) }, (req, res) => { calls.push(req.url); res.end(); });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const stoker = await Stoker.start(t, { webhooks: { allow: ['127.0.0.1'] }, deployments: { e: echo({ tokens: 1 }) } });
  await post(stoker, 'e/run', { input: { prompt: 'x' }, webhook: `https://127.0.0.1:${server.address().port}/` });
  await stoker.logs(/event=webhook_failed.*certificate/);
  assert.deepEqual(calls, []);
});

test('only an admin is shown the secret', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const made = await stoker.post('/api/v1/keys', { scopes: ['inference', 'read'] });
  const refused = await request(`${stoker.url}/api/v1/webhooks/secret?tenant=default`, { headers: { authorization: `Bearer ${made.json.key}` } });
  assert.equal(refused.status, 403);
  assert.equal((await stoker.call('/api/v1/webhooks/secret?tenant=Not+A+Name')).status, 400);
});
