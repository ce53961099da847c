// Streams whose clients lose their connections: taken up again by request id and Last-Event-ID.
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { Stoker, echo, makeKey, openStream, readAll, sseEvents, until } from './lib/stoker.mjs';

const messages = [{ role: 'user', content: 'Tell me a story about an owl.' }];
const once = { concurrency: 1, autoscaling: { max_instances: 1 } };
const keep = (value = '60s') => ({ 'x-stoker-resumable': value });
const open = (stoker, model, more = {}, headers = {}) =>
  openStream(`${stoker.url}/v1/chat/completions`, { model, stream: true, messages, ...more }, { ...stoker.headers, ...keep(), ...headers });

/// The response of a resume as soon as its head is there.
function resume(stoker, id, last, headers = {}) {
  return new Promise((resolve, reject) => {
    const req = http.get(`${stoker.url}/v1/streams/${id}`,
      { agent: false, headers: { ...stoker.headers, ...(last === undefined ? {} : { 'last-event-id': String(last) }), ...headers } },
      (res) => resolve({ req, res, leave: () => req.destroy() }));
    req.on('error', reject);
  });
}

/// Reads whole events until `enough` of them are there, or the end. Gives [{id, block}].
async function read(stream, enough = Infinity) {
  let text = '';
  const events = [];
  try {
    for await (const part of stream.res) {
      text += part;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const block = text.slice(0, end);
        text = text.slice(end + 2);
        const id = /^id: (\d+)$/m.exec(block);
        if (id) events.push({ id: Number(id[1]), block: block.slice(block.indexOf(id[0]) + id[0].length + 1) });
        else if (block.startsWith(': stoker ')) events.receipt = JSON.parse(block.slice(': stoker '.length));
      }
      if (events.length >= enough) break;
    }
  } catch (error) { events.error = error; }
  return events;
}
const textOf = (events) => events.map(({ block }) => (block.startsWith('data: {') ? JSON.parse(block.slice(6)).choices[0]?.delta?.content ?? '' : '')).join('');

test('a stream that breaks again and again is got whole: every event once, one request, one record', async (t) => {
  const tokens = 200;
  const stoker = await Stoker.start(t, { threads: 2, deployments: { e: echo({ tokens, token_delay: '5ms' }, once) } });
  const whole = await read(await open(stoker, 'e'));
  let stream = await open(stoker, 'e');
  const id = stream.res.headers['x-request-id'];
  const got = [];
  let breaks = 0;
  for (;;) {
    const part = await read(stream, 7 + breaks % 5);
    stream.leave();
    got.push(...part);
    if (part.at(-1)?.block === 'data: [DONE]') { assert.equal(part.receipt.request, id); break; }
    breaks += 1;
    stream = await resume(stoker, id, got.at(-1).id);
    assert.equal(stream.res.statusCode, 200);
    assert.equal(stream.res.headers['x-request-id'], id);
  }
  assert.ok(breaks > 10, `${breaks}`);
  assert.deepEqual(got.map((event) => event.id), got.map((_, i) => i + 1), 'no gap, nothing twice');
  assert.equal(textOf(got), textOf(whole));
  const row = await stoker.row(id);
  assert.equal(row.outcome, 'completed');
  assert.equal(row.usage.output_tokens, tokens);
  assert.equal((await stoker.ledger()).length, 2);
  assert.equal((await resume(stoker, id, got.at(-1).id)).res.statusCode, 204);
  const again = await read(await resume(stoker, id));
  assert.deepEqual(again.map(({ block }) => block), got.map(({ block }) => block));
});

test('without the field a gone client means cancel; with it only when he stays away', async (t) => {
  const stoker = await Stoker.start(t, { drain_timeout: '1s', deployments: { e: echo({ tokens: 100_000, token_delay: '5ms' }, { ...once, concurrency: 2 }) } });
  const plain = await openStream(`${stoker.url}/v1/chat/completions`, { model: 'e', stream: true, messages }, stoker.headers);
  const plainId = plain.res.headers['x-request-id'];
  plain.leave();
  assert.equal((await stoker.row(plainId)).outcome, 'cancelled');
  assert.equal((await resume(stoker, plainId)).res.statusCode, 404);

  const stays = await open(stoker, 'e', {}, keep('10m'));
  const away = await open(stoker, 'e', {}, keep('1s'));
  const [staysId, awayId] = [stays, away].map(({ res }) => res.headers['x-request-id']);
  await read(stays, 3);
  await read(away, 3);
  stays.leave();
  away.leave();
  const row = await stoker.row(awayId);
  assert.equal(row.outcome, 'cancelled');
  assert.ok(row.usage.known && row.usage.output_tokens > 3, 'it went on for a while');
  const late = await resume(stoker, awayId, 3);
  assert.equal(late.res.statusCode, 410);
  assert.equal(JSON.parse(await readAll(late.res)).error.code, 'stream_gone');
  await stoker.activeBecomes(await stoker.ready('e'), 1);

  // Another one takes the place of who reads.
  const first = await resume(stoker, staysId, 3);
  await read(first, 0);
  const second = await resume(stoker, staysId, 3);
  assert.deepEqual((await read(second, 3)).slice(0, 3).map((event) => event.id), [4, 5, 6]);
});

test('a stream is for its own tenant, and for keys that may use its deployment', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 3 }), other: echo({ tokens: 1 }) } });
  const mine = await makeKey(stoker, '--tenant', 'birds');
  const bearer = (key) => ({ authorization: `Bearer ${key.key}` });
  const stream = await open(stoker, 'e', {}, bearer(mine));
  const id = stream.res.headers['x-request-id'];
  await read(stream);
  const statusFor = async (...args) => (await resume(stoker, id, 1, bearer(await makeKey(stoker, ...args)))).res.statusCode;
  assert.equal(await statusFor('--tenant', 'birds'), 200);
  assert.equal(await statusFor('--tenant', 'bears'), 404);
  assert.equal(await statusFor('--tenant', 'birds', '--deployments', 'other'), 404);
  assert.equal((await resume(stoker, id, 1)).res.statusCode, 404, 'nor for an admin of another tenant');
});

test('a client may leave while its model starts, and a restart keeps nothing', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 5, load_time: '2s' }, once) } });
  const stream = await open(stoker, 'e', {}, { 'x-stoker-progress': 'true' });
  const id = stream.res.headers['x-request-id'];
  stream.leave();
  const events = await read(await resume(stoker, id));
  assert.equal(events.at(-1).block, 'data: [DONE]');
  assert.deepEqual(events.map((event) => event.id), events.map((_, i) => i + 1));
  assert.equal(events.receipt.start, 'cold');
  assert.equal((await stoker.row(id)).outcome, 'completed');
  stoker.signal('SIGKILL');
  await stoker.exited;
  await stoker.launch();
  assert.equal((await resume(stoker, id)).res.statusCode, 404);
});

test('what is kept is bounded, and a reader that is slower than the engine misses nothing', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 60_000 }, { ...once, concurrency: 8 }) } });
  await stoker.chat('e', { max_tokens: 1 });
  const slow = await open(stoker, 'e');
  const id = slow.res.headers['x-request-id'];
  slow.res.pause();
  await until('it has begun', async () => (await stoker.deployment('e')).running === 1);
  const events = await read(slow);
  assert.equal(events.at(-1).block, 'data: [DONE]');
  assert.deepEqual(events.map((event) => event.id), events.map((_, i) => i + 1));
  assert.equal((await resume(stoker, id, 1)).res.statusCode, 410, 'only the newest of it is kept');
  const rest = await read(await resume(stoker, id, events.length - 3));
  assert.deepEqual(rest.map((event) => event.id), [events.length - 2, events.length - 1, events.length]);
  // Nobody reads, and it is more than is kept.
  const alone = await open(stoker, 'e');
  alone.leave();
  const row = await stoker.row(alone.res.headers['x-request-id']);
  assert.equal(row.outcome, 'cancelled');
});

test('with an Idempotency-Key the answer is kept without ids, and given again', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 20, token_delay: '5ms' }, once) } });
  const headers = { 'idempotency-key': 'a' };
  const stream = await open(stoker, 'e', {}, headers);
  const id = stream.res.headers['x-request-id'];
  await read(stream, 2);
  stream.leave();
  const rest = await read(await resume(stoker, id, 2));
  assert.equal(rest.at(-1).block, 'data: [DONE]');
  const again = await until('it is kept', async () => {
    const one = await open(stoker, 'e', {}, headers);
    const text = await readAll(one.res);
    return one.res.statusCode === 200 ? { res: one.res, text } : undefined;
  });
  assert.equal(again.res.headers['idempotent-replayed'], 'true');
  assert.equal(sseEvents(again.text).at(-1).data, '[DONE]');
  assert.ok(!/^id:/m.test(again.text));
  assert.equal((await stoker.ledger()).length, 1);
});

test('the clients of OpenAI and Anthropic read such streams as any other', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 5 }) } });
  const headers = { defaultHeaders: { 'X-Stoker-Resumable': '60s' }, apiKey: stoker.key, maxRetries: 0 };
  const openai = new OpenAI({ baseURL: `${stoker.url}/v1`, ...headers });
  let chunks = 0;
  for await (const chunk of await openai.chat.completions.create({ model: 'e', messages, stream: true })) chunks += chunk.choices.length;
  assert.ok(chunks >= 5);
  const anthropic = new Anthropic({ baseURL: stoker.url, ...headers });
  const message = await anthropic.messages.stream({ model: 'e', max_tokens: 10, messages }).finalMessage();
  assert.equal(message.usage.output_tokens, 5);
  const one = await openStream(`${stoker.url}/v1/messages`, { model: 'e', max_tokens: 10, messages, stream: true }, { ...stoker.headers, ...keep() });
  const events = await read(one);
  assert.match(events.at(-1).block, /message_stop/);
  const rest = await read(await resume(stoker, one.res.headers['x-request-id'], 1));
  assert.deepEqual([...rest], [...events.slice(1)]);
});
