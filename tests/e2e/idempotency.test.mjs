// Idempotency-Key and Prefer: wait on requests that are no jobs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stoker, cli, echo, openStream, readAll, request, until } from './lib/stoker.mjs';

const once = { max_instances: 1 };
const body = (more = {}) => ({ model: 'e', messages: [{ role: 'user', content: 'hello' }], ...more });
const chat = (stoker, key, more = {}, headers = {}) =>
  request(`${stoker.url}/v1/chat/completions`, { method: 'POST', headers: { ...stoker.headers, ...(key ? { 'idempotency-key': key } : {}), ...headers }, body: body(more) });

test('the same request under the same key runs once and gets the same answer, also after a kill -9', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 3 }) } });
  const first = await chat(stoker, 'a');
  assert.equal(first.status, 200);
  assert.equal(first.headers['idempotent-replayed'], undefined);
  const again = await chat(stoker, 'a');
  assert.equal(again.status, 200);
  assert.equal(again.text, first.text);
  assert.equal(again.headers['idempotent-replayed'], 'true');
  assert.equal(again.headers['x-request-id'], first.headers['x-request-id']);
  assert.equal(again.headers['content-type'], first.headers['content-type']);
  const other = await chat(stoker, 'a', { max_tokens: 1 });
  assert.equal(other.status, 422);
  assert.equal(other.json.error.code, 'idempotency_key_reused');
  assert.equal((await chat(stoker, 'x'.repeat(256))).status, 400);
  assert.equal((await chat(stoker, 'b')).headers['idempotent-replayed'], undefined);
  stoker.signal('SIGKILL');
  await stoker.exited;
  await stoker.launch();
  assert.equal((await chat(stoker, 'a')).text, first.text);
  assert.equal((await stoker.ledger()).length, 2, 'two requests ran');
  // Keys are of whoever presents them.
  const made = JSON.parse((await cli(['keys', 'create', '--json', '--config', stoker.configFile, '--url', stoker.url])).stdout);
  assert.equal((await chat(stoker, 'a', { max_tokens: 1 }, { authorization: `Bearer ${made.key}` })).status, 200);
});

test('while it runs, the same key is in use; one whose client has left, or that failed, is free', async (t) => {
  const stoker = await Stoker.start(t, { deployments: {
    e: echo({ tokens: 100_000, token_delay: '5ms' }), f: echo({ tokens: 1 }, { limits: { queue_timeout: '100ms' }, concurrency: 1, autoscaling: once }) } });
  const stream = await openStream(`${stoker.url}/v1/chat/completions`, body({ stream: true }), { ...stoker.headers, 'idempotency-key': 'a' });
  const used = await chat(stoker, 'a', { stream: true });
  assert.equal(used.status, 409);
  assert.equal(used.json.error.code, 'idempotency_key_in_use');
  stream.leave();
  await until('it is free', async () => {
    const next = await openStream(`${stoker.url}/v1/chat/completions`, body({ stream: true }), { ...stoker.headers, 'idempotency-key': 'a' });
    next.leave();
    return next.res.statusCode === 200;
  });
  const wrong = await chat(stoker, 'b', { model: 'none' });
  assert.equal(wrong.status, 404);
  assert.equal((await chat(stoker, 'b', { max_tokens: 1 })).status, 200, 'what never ran has no answer');
});

test('a stream is given again as it was', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 5 }) } });
  const stream = async () => {
    const { res } = await openStream(`${stoker.url}/v1/chat/completions`, body({ stream: true }), { ...stoker.headers, 'idempotency-key': 's' });
    return { headers: res.headers, text: await readAll(res) };
  };
  const first = await stream();
  assert.match(first.text, /data: \[DONE\]\s*$/);
  const again = await stream();
  assert.equal(again.text, first.text);
  assert.equal(again.headers['idempotent-replayed'], 'true');
  assert.equal(again.headers['content-type'], first.headers['content-type']);
  assert.equal((await stoker.ledger()).length, 1);
});

test('Prefer: wait gives the answer, or 202 with the job that goes on', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 100_000, token_delay: '5ms' }, { concurrency: 2, autoscaling: once }) } });
  const quick = await chat(stoker, undefined, { max_tokens: 2 }, { prefer: 'wait=30' });
  assert.equal(quick.status, 200);
  assert.equal(quick.json.usage.completion_tokens, 2);
  assert.equal((await stoker.row(quick.headers['x-request-id'])).usage.output_tokens, 2);
  const slow = await chat(stoker, undefined, { max_tokens: 200 }, { prefer: 'respond-async' });
  assert.equal(slow.status, 202);
  assert.equal(slow.headers['preference-applied'], 'wait=0');
  assert.match(slow.headers.location, /^\/v2\/e\/status\/job-[0-9a-f]{32}$/);
  assert.ok(['IN_QUEUE', 'IN_PROGRESS'].includes(slow.json.status), slow.text);
  const job = await until('it has ended', async () => {
    const { json } = await stoker.call(slow.headers.location);
    return json.status === 'COMPLETED' ? json : undefined;
  });
  assert.equal(job.output.usage.completion_tokens, 200);
  assert.equal(slow.headers.location.endsWith(job.id), true);
  // A wrong request is told at once, a stream streams, a preference that is none is passed over.
  assert.equal((await chat(stoker, undefined, { model: 'none' }, { prefer: 'wait=30' })).status, 404);
  const { res } = await openStream(`${stoker.url}/v1/chat/completions`, body({ stream: true, max_tokens: 2 }), { ...stoker.headers, prefer: 'wait=0' });
  assert.match(await readAll(res), /\[DONE\]/);
  assert.equal((await chat(stoker, undefined, { max_tokens: 1 }, { prefer: 'wait=soon' })).status, 200);
  // With an Idempotency-Key the same call finds its job.
  const [a, b] = [await chat(stoker, 'k', { max_tokens: 50 }, { prefer: 'wait=0' }), await chat(stoker, 'k', { max_tokens: 50 }, { prefer: 'wait=30' })];
  assert.equal(a.status, 202);
  assert.equal(b.status, 200);
  assert.equal(b.json.usage.completion_tokens, 50);
  assert.equal(b.headers['x-stoker-job'], a.json.id);
});
