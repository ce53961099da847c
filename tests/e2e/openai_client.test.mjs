// The unmodified `openai` client against Stoker: what it sends is understood, what it gets is what
// it expects, and failures become the error classes that its users catch (G6 in RELIABILITY.md).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { Stoker, curl, echo, endlessLlama, hasEngines, llama, makeKey, sseEvents, until } from './lib/stoker.mjs';

const clientOf = (stoker, more = {}) => new OpenAI({ baseURL: `${stoker.url}/v1`, apiKey: stoker.key, maxRetries: 0, ...more });
const messages = [{ role: 'user', content: 'Tell me a story about an owl.' }];
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('');
async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const kinds = [
  { name: 'echo', chat: echo({ tokens: 6, token_delay: '1ms' }), vectors: echo({}), endless: { max_tokens: 100_000 }, slow: echo({ tokens: 100_000, token_delay: '5ms' }), options: {} },
  { name: 'llama.cpp', chat: llama(), vectors: llama({ embeddings: 'mean' }), slow: endlessLlama(), endless: { max_tokens: 100_000, ignore_eos: true }, options: { temperature: 0, max_tokens: 24 }, skip: !hasEngines && 'built without engines' },
];
for (const { name, chat, vectors, slow, endless, options, skip } of kinds) {
  test(`${name}: models, chat, completions, embeddings`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat, vectors } });
    const client = clientOf(stoker);
    const listed = await client.models.list();
    assert.deepEqual(listed.data.map((model) => model.id).sort(), ['chat', 'vectors']);
    assert.equal((await client.models.retrieve('chat')).id, 'chat');

    const unary = await client.chat.completions.create({ model: 'chat', messages, ...options });
    assert.equal(unary.object, 'chat.completion');
    assert.equal(unary.choices[0].message.role, 'assistant');
    assert.ok(unary.choices[0].message.content.length > 5);
    assert.ok(unary.usage.completion_tokens > 1);

    const plain = await all(await client.chat.completions.create({ model: 'chat', messages, ...options, stream: true }));
    assert.equal(textOf(plain).trim(), unary.choices[0].message.content.trim());
    assert.ok(plain.every((chunk) => !chunk.usage));
    const counted = await all(await client.chat.completions.create({ model: 'chat', messages, ...options, stream: true, stream_options: { include_usage: true } }));
    assert.equal(counted.at(-1).usage.completion_tokens, unary.usage.completion_tokens);
    assert.equal(counted.at(-1).usage.prompt_tokens, unary.usage.prompt_tokens);
    const streamed = { model: 'chat', prompt: 'Once upon a time', ...options, stream: true };
    for (const declined of [{}, { stream_options: { include_usage: false } }]) {
      const chunks = await all(await client.completions.create({ ...streamed, ...declined }));
      assert.ok(chunks.every((chunk) => !chunk.usage), 'usage that nobody asked for');
      assert.ok(chunks.length > 1);
    }
    const asked = await all(await client.completions.create({ ...streamed, stream_options: { include_usage: true } }));
    assert.ok(asked.at(-1).usage.completion_tokens >= 1);

    const completion = await client.completions.create({ model: 'chat', prompt: 'Once upon a time', max_tokens: 4 });
    assert.equal(completion.object, 'text_completion');
    assert.ok(completion.choices[0].text.length > 0);

    const embeddings = await client.embeddings.create({ model: 'vectors', input: ['an owl', 'a bear'] });
    assert.equal(embeddings.data.length, 2);
    assert.ok(embeddings.data[0].embedding.length > 0);
    assert.ok(embeddings.data[0].embedding.every(Number.isFinite));
  });

  test(`${name}: a stream that its reader aborts is cancelled`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat: slow } });
    const aborter = new AbortController();
    const stream = await clientOf(stoker).chat.completions.create({ model: 'chat', messages, ...endless, stream: true }, { signal: aborter.signal });
    const instance = await stoker.ready('chat');
    let seen = 0;
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta?.content && ++seen === 3) aborter.abort();
    }
    await stoker.activeBecomes(instance, 0);
    const row = await until('the row is there', async () => (await stoker.ledger())[0]);
    assert.equal(row.outcome, 'cancelled');
    assert.ok(row.usage.output_tokens >= 3);
    assert.equal(row.usage.output_tokens, (await stoker.stats(instance)).tokens);
  });

  test(`${name}: a worker that is killed in the middle of a stream makes the client raise`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat: slow } });
    const stream = await clientOf(stoker).chat.completions.create({ model: 'chat', messages, ...endless, stream: true });
    const instance = await stoker.ready('chat');
    let seen = 0;
    await assert.rejects(async () => {
      for await (const chunk of stream) {
        if (chunk.choices[0]?.delta?.content && ++seen === 2) process.kill(instance.pid, 'SIGKILL');
      }
    }, (error) => error instanceof OpenAI.APIError && /lost|broke off|ended/.test(error.message));
    assert.ok(seen >= 2);
    const row = await until('the row is there', async () => (await stoker.ledger())[0]);
    assert.equal(row.outcome, 'failed');
    assert.equal(row.reason, 'instance_lost');
    assert.ok(row.usage.output_tokens >= 2, 'what went on to the client is known');
    const again = await clientOf(stoker, { maxRetries: 5 }).chat.completions.create({ model: 'chat', messages, max_tokens: 2 });
    assert.ok(again.choices[0].message.content.length > 0, 'a new instance answers');
  });
}

test('errors have the classes that callers catch', async (t) => {
  const stoker = await Stoker.start(t, {
    deployments: {
      e: echo({ tokens: 2 }),
      broken: echo({ faults: { load_failed: 'model_broken' } }),
      crashing: echo({ tokens: 8, token_delay: '1ms', faults: { crash_at: 'token:3' } }),
      full: echo({ tokens: 100_000, token_delay: '10ms' }, { concurrency: 1, limits: { max_queued: 1 } }),
    },
  });
  const client = clientOf(stoker);
  const ask = (model, more = {}) => client.chat.completions.create({ model, messages, ...more });
  await assert.rejects(ask('nobody'), (error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found');
  await assert.rejects(client.models.retrieve('nobody'), OpenAI.NotFoundError);
  await assert.rejects(clientOf(stoker, { apiKey: 'sk-wrong' }).models.list(), (error) => error instanceof OpenAI.AuthenticationError && error.code === 'invalid_api_key');
  await assert.rejects(ask(undefined), (error) => error instanceof OpenAI.BadRequestError && error.param === 'model');
  await assert.rejects(ask('e', { stream: 'yes' }), OpenAI.BadRequestError);
  await assert.rejects(ask('broken'), (error) => {
    assert.ok(error instanceof OpenAI.InternalServerError);
    assert.equal(error.status, 503);
    assert.equal(error.code, 'load_failed');
    return Number(error.headers.get('retry-after')) >= 1;
  });
  await assert.rejects(ask('crashing'), (error) => error instanceof OpenAI.InternalServerError && error.status === 502);
  await assert.rejects(async () => all(await ask('crashing', { stream: true })), OpenAI.APIError);

  const aborter = new AbortController();
  const hold = () => client.chat.completions.create({ model: 'full', messages }, { signal: aborter.signal }).catch(() => {});
  const first = hold();
  await until('one runs', async () => (await stoker.deployment('full')).running === 1);
  const second = hold();
  await until('one waits', async () => (await stoker.deployment('full')).queued === 1);
  await assert.rejects(ask('full'), (error) => error instanceof OpenAI.RateLimitError && error.code === 'queue_full' && error.headers.has('retry-after'));
  aborter.abort();
  await Promise.all([first, second]);
});

test('curl: whole, streamed, left, limited, and with a wrong key', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 3 }), slow: echo({ tokens: 100_000, token_delay: '5ms' }) } });
  const { key } = await makeKey(stoker, '--tenant', 'a', '--scopes', 'inference', '--rpm', '3');
  const askAs = (bearer, model, more, ...args) => curl('-N', '-H', `Authorization: Bearer ${bearer}`, ...args, '--json', JSON.stringify({ model, messages, ...more }), `${stoker.url}/v1/chat/completions`);
  const ask = (...args) => askAs(key, ...args);
  const status = ['-o', '/dev/null', '-w', '%{http_code} %header{retry-after}'];
  const whole = JSON.parse(await ask('e'));
  assert.equal(whole.usage.completion_tokens, 3);
  const events = sseEvents(await ask('e', { stream: true }));
  assert.equal(events.at(-1).data, '[DONE]');
  assert.equal(textOf(events.filter((event) => event.data?.startsWith('{')).map((event) => JSON.parse(event.data))), whole.choices[0].message.content);
  await assert.rejects(ask('slow', { stream: true }, '--max-time', '0.5'), /curl ended with 28/);
  await until('it is cancelled', async () => (await stoker.deployment('slow')).running === 0);
  const outcomes = (await stoker.ledger()).map((row) => row.outcome);
  assert.deepEqual(outcomes.sort(), ['cancelled', 'completed', 'completed']);
  assert.match(await ask('e', {}, ...status), /^429 [1-9]\d*$/);
  assert.equal(await askAs('sk-no', 'e', {}, ...status), '401 ');
});

test('llama.cpp: embeddings that are not set up are told in words of the configuration', { skip: !hasEngines && 'built without engines' }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: {
    chat: llama(), simple: llama({ embeddings: true }), none: llama({ embeddings: 'none' }),
  } });
  const ask = (model) => stoker.post('/v1/embeddings', { model, input: 'an owl' });
  const plain = await ask('chat');
  assert.equal(plain.status, 501, plain.text);
  assert.match(plain.json.error.message, /options: \{embeddings: mean\}/);
  const unpooled = await ask('none');
  assert.equal(unpooled.status, 400, unpooled.text);
  assert.match(unpooled.json.error.message, /options: \{embeddings: mean\}/);
  const simple = await ask('simple');
  assert.equal(simple.status, 200, simple.text);
  assert.ok(simple.json.data[0].embedding.length > 0);
});
