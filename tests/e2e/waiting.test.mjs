// Requests that wait for an instance: their deadlines, and what those who ask are told meanwhile.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { Stoker, echo, openStream, readAll, sseEvents, until } from './lib/stoker.mjs';

const messages = [{ role: 'user', content: 'Tell me a story about an owl.' }];
const once = { concurrency: 1, autoscaling: { max_instances: 1 } };
const deadline = (value) => ({ 'x-stoker-deadline': value });
const open = (stoker, model, headers, more = {}) =>
  openStream(`${stoker.url}/v1/chat/completions`, { model, stream: true, messages, ...more }, { ...stoker.headers, ...headers });

test('a deadline that passes in the queue ends the wait, and one that passes while it runs ends the run', async (t) => {
  const stoker = await Stoker.start(t, { deployments: {
    cold: echo({ load_time: '60s' }), slow: echo({ tokens: 100_000, token_delay: '5ms' }, once) } });
  for (const headers of [deadline('300ms'), { 'cancel-after': '300ms' }]) {
    const late = await stoker.chat('cold', {}, headers);
    assert.equal(late.status, 504, late.text);
    assert.equal(late.json.error.code, 'deadline_exceeded');
    assert.equal(late.headers['retry-after'], undefined);
    const row = await stoker.row(late.headers['x-request-id']);
    assert.equal(row.outcome, 'expired');
    assert.equal(row.reason, 'deadline_exceeded');
    assert.equal(row.usage.output_tokens, 0);
  }
  assert.equal((await stoker.deployment('cold')).queued, 0);

  const cut = await stoker.chat('slow', {}, deadline('1500ms'));
  assert.equal(cut.status, 504, cut.text);
  assert.equal(cut.json.error.code, 'deadline_exceeded');
  const { res } = await open(stoker, 'slow', deadline('1500ms'));
  const events = sseEvents(await readAll(res));
  assert.match(events.at(-1).data, /deadline_exceeded/);
  assert.ok(events.length > 2, 'tokens came before it');
  const row = await stoker.row(res.headers['x-request-id']);
  assert.equal(row.outcome, 'expired');
  assert.ok(row.usage.output_tokens > 0 && row.usage.known, 'what it used is on record');
  await until('the worker was told', async () => (await stoker.stats(await stoker.ready('slow'))).active === 0);

  // Whoever waits behind another leaves the queue at its own time.
  const long = await open(stoker, 'slow', {});
  assert.equal((await stoker.chat('slow', {}, deadline('300ms'))).status, 504);
  long.leave();
  assert.equal((await stoker.chat('slow', { max_tokens: 1 }, deadline('60s'))).status, 200);
});

test('bad values are a 400 that names the field', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 1 }) } });
  for (const [name, value] of [['X-Stoker-Deadline', 'soon'], ['X-Stoker-Deadline', '-1s'], ['Cancel-After', '48h'], ['X-Stoker-Progress', 'maybe'],
    ['X-Stoker-Resumable', '60s'], ['X-Stoker-Deadline', '5s, 6s']]) {
    const bad = await stoker.chat('e', {}, { [name]: value });
    assert.equal(bad.status, 400, `${name}: ${value}`);
    assert.equal(bad.json.error.code, 'invalid_field');
    assert.equal(bad.json.error.param, name);
  }
  const job = await stoker.chat('e', {}, { prefer: 'wait=5', ...deadline('5s') });
  assert.equal(job.status, 400);
  assert.equal((await stoker.post('/api/chat', { model: 'e', messages }, deadline('soon'))).status, 400);
  assert.equal((await stoker.ledger()).length, 0);
});

test('progress is told to who asks: the phases of the start, the place in the queue, the time that starts took', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 2, load_time: '1500ms', warmup_time: '1500ms' }, once) } });
  const read = async (headers) => {
    const { res } = await open(stoker, 'e', headers);
    assert.equal(res.statusCode, 200);
    return { id: res.headers['x-request-id'], events: sseEvents(await readAll(res)) };
  };
  const asks = { 'x-stoker-progress': 'true' };
  const asking = [read(asks), read(asks)];
  await until('they wait', async () => (await stoker.deployment('e')).queued === 2);
  const [one, two, silent] = await Promise.all([...asking, read({})]);
  assert.ok(silent.events.every((event) => event.event === undefined), 'who did not ask sees nothing');
  const places = new Set();
  for (const { id, events } of [one, two]) {
    const told = events.filter((event) => event.event === 'stoker.progress').map((event) => JSON.parse(event.data));
    const firstToken = events.findIndex((event) => event.event === undefined && event.data);
    assert.ok(events.slice(firstToken).every((event) => event.event === undefined), 'none once it runs');
    assert.equal(events.at(-1).data, '[DONE]');
    for (const each of told) {
      assert.equal(each.request, id);
      assert.ok(['queue', 'allocate', 'start', 'load', 'warmup'].includes(each.phase), each.phase);
      assert.equal(each.estimated_wait_ms, undefined, 'no start was seen yet');
      places.add(each.position);
    }
    assert.ok(told.some((each) => each.phase === 'load' || each.phase === 'warmup'));
  }
  assert.ok(places.has(1) && places.has(2), [...places].join());
  await stoker.call('/api/v1/stop/e', { method: 'POST' });
  await until('it is stopped', async () => (await stoker.instances('e')).length === 0);
  const again = await read(asks);
  const [first] = again.events.filter((event) => event.event === 'stoker.progress').map((event) => JSON.parse(event.data));
  assert.ok(first.estimated_wait_ms > 0, JSON.stringify(first));
  // A warm one has nothing to wait for.
  const warm = await read(asks);
  assert.ok(warm.events.every((event) => event.event === undefined));
  assert.equal((await stoker.row(one.id)).usage.output_tokens, 2);
});

test("Anthropic's client passes over the progress that it asked for", async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 2, load_time: '500ms' }) } });
  const client = new Anthropic({ baseURL: stoker.url, apiKey: stoker.key, maxRetries: 0, defaultHeaders: { 'x-stoker-progress': 'true' } });
  const message = await client.messages.stream({ model: 'e', max_tokens: 5, messages }).finalMessage();
  assert.equal(message.usage.output_tokens, 2);
});
