// The unmodified `@anthropic-ai/sdk` against Stoker: messages whole, streamed and left, counting,
// and the error classes and fields that its users rely on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { Stoker, curl, echo, neverEndingLlama, hasEngines, llama, makeKey, sseEvents, until } from './lib/stoker.mjs';

const clientOf = (stoker, more = {}) => new Anthropic({ baseURL: stoker.url, apiKey: stoker.key, maxRetries: 0, ...more });
const messages = [{ role: 'user', content: 'Tell me a story about an owl.' }];
const wish = (model, more = {}) => ({ model, max_tokens: 24, messages, ...more });
const textOf = (events) => events.filter((event) => event.type === 'content_block_delta').map((event) => event.delta.text).join('');
async function all(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const kinds = [
  { name: 'echo', chat: echo({ tokens: 6, token_delay: '1ms' }), slow: echo({ tokens: 100_000, token_delay: '5ms' }) },
  { name: 'llama.cpp', chat: llama(), slow: neverEndingLlama(), more: { temperature: 0 }, skip: !hasEngines && 'built without engines' },
];
for (const { name, chat, slow, more, skip } of kinds) {
  test(`${name}: messages whole and streamed say and count the same`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat } });
    const client = clientOf(stoker);
    const whole = await client.messages.create(wish('chat', more));
    assert.equal(whole.type, 'message');
    assert.equal(whole.role, 'assistant');
    assert.ok(whole.content[0].text.length > 5);
    assert.match(whole._request_id, /^req-/);

    const events = await all(await client.messages.create(wish('chat', { ...more, stream: true })));
    assert.equal(events[0].type, 'message_start');
    assert.equal(events.at(-1).type, 'message_stop');
    assert.equal(textOf(events).trim(), whole.content[0].text.trim());
    const helper = await client.messages.stream(wish('chat', more)).finalMessage();
    assert.equal(helper.content[0].text.trim(), whole.content[0].text.trim());
    assert.equal(helper.usage.output_tokens, whole.usage.output_tokens);

    const rows = await until('three rows', async () => { const got = await stoker.ledger(); return got.length === 3 ? got : undefined; });
    for (const row of rows) {
      assert.equal(row.route, 'messages');
      assert.equal(row.outcome, 'completed');
      assert.equal(row.usage.output_tokens, whole.usage.output_tokens);
      assert.ok(row.usage.input_tokens > 0);
    }
    const counted = await client.messages.countTokens({ model: 'chat', messages });
    assert.ok(counted.input_tokens > 0);
  });

  test(`${name}: a stream that its reader leaves is cancelled and costs what it took`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat: slow } });
    const stream = await clientOf(stoker).messages.create(wish('chat', { max_tokens: 100_000, stream: true }));
    const instance = await stoker.ready('chat');
    let seen = 0;
    for await (const event of stream) {
      if (event.type === 'content_block_delta' && ++seen === 3) break;  // the SDK aborts
    }
    await stoker.activeBecomes(instance, 0);
    const row = await until('the row is there', async () => (await stoker.ledger())[0]);
    assert.equal(row.outcome, 'cancelled');
    assert.ok(row.usage.output_tokens >= 3);
    assert.equal(row.usage.output_tokens, (await stoker.stats(instance)).tokens);
  });

  test(`${name}: a worker that is killed makes the reader raise`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat: slow } });
    const stream = await clientOf(stoker).messages.create(wish('chat', { max_tokens: 100_000, stream: true }));
    const instance = await stoker.ready('chat');
    let seen = 0;
    await assert.rejects(async () => {
      for await (const event of stream) {
        if (event.type === 'content_block_delta' && ++seen === 2) process.kill(instance.pid, 'SIGKILL');
      }
    }, (error) => error instanceof Anthropic.APIError && error.type === 'api_error');
    const row = await until('the row is there', async () => (await stoker.ledger())[0]);
    assert.equal(row.reason, 'instance_lost');
    assert.ok(row.usage.output_tokens >= 2);
  });
}

test('errors have the classes that callers catch', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo(), broken: echo({ faults: { load_failed: 'model_broken' } }) } });
  const client = clientOf(stoker);
  await assert.rejects(client.messages.create(wish('nobody')), (error) => error instanceof Anthropic.NotFoundError && error.type === 'not_found_error' && /^req-/.test(error.requestID));
  await assert.rejects(clientOf(stoker, { apiKey: 'sk-wrong' }).messages.create(wish('e')), (error) => error instanceof Anthropic.AuthenticationError && error.type === 'authentication_error');
  await assert.rejects(client.messages.create(wish(undefined)), Anthropic.BadRequestError);
  // The engine's own refusal, in the same shape.
  await assert.rejects(client.messages.create({ model: 'e', max_tokens: 1, messages: 'none' }), (error) => error instanceof Anthropic.BadRequestError && error.type === 'invalid_request_error');
  await assert.rejects(client.messages.create(wish('broken')), (error) => error.status === 503 && error.type === 'overloaded_error' && error.headers.has('retry-after'));
});

test('a limited key is told where it stands, in the fields of both dialects, and refused at its limit', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const limited = await makeKey(stoker, '--rpm', '2', '--input-tpm', '1000', '--output-tpm', '1000');
  const client = clientOf(stoker, { apiKey: limited.key });
  const { response } = await client.messages.create(wish('e')).withResponse();
  for (const what of ['requests', 'input-tokens', 'output-tokens']) {
    const most = what === 'requests' ? '2' : '1000';
    assert.equal(response.headers.get(`anthropic-ratelimit-${what}-limit`), most);
    assert.equal(response.headers.get(`x-ratelimit-limit-${what}`), most);
    assert.ok(Number(response.headers.get(`anthropic-ratelimit-${what}-remaining`)) < Number(most));
    const reset = response.headers.get(`anthropic-ratelimit-${what}-reset`);
    assert.match(reset, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.ok(Date.parse(reset) > Date.now() - 2000 && Date.parse(reset) < Date.now() + 62_000, reset);
  }
  await client.messages.create(wish('e', { stream: true })).then(all);
  await assert.rejects(client.messages.create(wish('e')), (error) => {
    assert.ok(error instanceof Anthropic.RateLimitError);
    assert.equal(error.headers.get('anthropic-ratelimit-requests-remaining'), '0');
    return Number(error.headers.get('retry-after')) >= 1;
  });
  const other = await clientOf(stoker).messages.create(wish('e')).withResponse();
  assert.equal(other.response.headers.has('anthropic-ratelimit-requests-limit'), false, 'no limit, no field');
});

test('curl: the version is accepted, x-api-key opens, and a stream has the events of the dialect only', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 2 }) } });
  const args = ['-H', `x-api-key: ${stoker.key}`, '-H', 'anthropic-version: 2023-06-01', '-H', 'content-type: application/json'];
  const whole = await curl(...args, '-d', JSON.stringify(wish('e')), `${stoker.url}/v1/messages`);
  assert.equal(JSON.parse(whole).stop_reason, 'end_turn');
  const streamed = await curl('-N', ...args, '-d', JSON.stringify(wish('e', { stream: true })), `${stoker.url}/v1/messages`);
  const names = sseEvents(streamed).filter((event) => event.data !== undefined).map((event) => event.event);
  assert.deepEqual(names, ['message_start', 'content_block_start', 'content_block_delta', 'content_block_delta', 'content_block_stop', 'message_delta', 'message_stop']);
  const refused = JSON.parse(await curl('-H', 'x-api-key: no', ...args.slice(2), '-d', '{}', `${stoker.url}/v1/messages`));
  assert.equal(refused.type, 'error');
  assert.equal(refused.error.type, 'authentication_error');
});
