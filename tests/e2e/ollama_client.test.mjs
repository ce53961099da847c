// The unmodified `ollama` client against Stoker: its routes are put into OpenAI's words for the
// engine and back, line by line.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ollama } from 'ollama';
import { Stoker, curl, echo, neverEndingLlama, hasEngines, llama, makeKey, until } from './lib/stoker.mjs';

const clientOf = (stoker, key = stoker.key) => new Ollama({ host: stoker.url, headers: { Authorization: `Bearer ${key}` } });
const messages = [{ role: 'user', content: 'Tell me a story about an owl.' }];
async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}
function checkEnd(end, row) {
  assert.equal(end.done, true);
  assert.ok(Number.isInteger(end.total_duration) && end.total_duration > 100_000, 'nanoseconds');
  assert.ok(end.load_duration >= 0 && end.eval_duration > 0);
  assert.ok(end.prompt_eval_duration + end.eval_duration <= end.total_duration);
  assert.ok(Date.parse(end.created_at) > Date.now() - 60_000);
  if (!row) return;
  assert.equal(end.eval_count, row.usage.output_tokens);
  assert.equal(end.prompt_eval_count, row.usage.input_tokens);
}

const kinds = [
  { name: 'echo', chat: echo({ tokens: 6, token_delay: '1ms' }), vectors: echo(), slow: echo({ tokens: 100_000, token_delay: '5ms' }), options: {} },
  { name: 'llama.cpp', chat: llama(), vectors: llama({ embeddings: 'mean' }), slow: neverEndingLlama(), options: { temperature: 0, num_predict: 24, num_ctx: 4096 }, skip: !hasEngines && 'built without engines' },
];
for (const { name, chat, vectors, slow, options, skip } of kinds) {
  test(`${name}: chat, generate and embed, whole and streamed, are in the ledger as they are told`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat, vectors } });
    const client = clientOf(stoker);
    const whole = await client.chat({ model: 'chat:latest', messages, options });
    assert.equal(whole.model, 'chat:latest');
    assert.equal(whole.message.role, 'assistant');
    assert.ok(whole.message.content.length > 5);
    const newest = async (count) => until(`${count} rows`, async () => { const rows = await stoker.ledger(); return rows.length === count ? rows[0] : undefined; });
    checkEnd(whole, await newest(1));

    const parts = await all(await client.chat({ model: 'chat', messages, options, stream: true }));
    assert.ok(parts.length > 3, 'token by token');
    assert.equal(parts.map((part) => part.message.content).join('').trim(), whole.message.content.trim());
    assert.deepEqual(parts.filter((part) => part.done), [parts.at(-1)]);
    checkEnd(parts.at(-1), await newest(2));
    assert.equal(parts.at(-1).eval_count, whole.eval_count);

    const generated = await client.generate({ model: 'chat', prompt: 'Once upon a time', system: 'Be brief.', options });
    assert.ok(generated.response.length > 5);
    checkEnd(generated, await newest(3));
    const raw = await all(await client.generate({ model: 'chat', prompt: 'Once upon a time', raw: true, options, stream: true }));
    assert.ok(raw.map((part) => part.response).join('').length > 5);
    checkEnd(raw.at(-1), await newest(4));

    const short = await client.chat({ model: 'chat', messages, options: { ...options, num_predict: 2 } });
    assert.equal(short.eval_count, 2);
    assert.equal(short.done_reason, 'length');

    const embedded = await client.embed({ model: 'vectors', input: ['an owl', 'a bear'] });
    assert.equal(embedded.embeddings.length, 2);
    assert.ok(embedded.embeddings[0].length > 0 && embedded.embeddings[0].every(Number.isFinite));
    assert.ok(embedded.prompt_eval_count > 0);
    const old = await client.embeddings({ model: 'vectors', prompt: 'an owl' });
    assert.deepEqual(old.embedding.length, embedded.embeddings[0].length);
  });

  test(`${name}: a stream that its reader aborts is cancelled and costs what it took`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat: slow } });
    const stream = await clientOf(stoker).chat({ model: 'chat', messages, stream: true });
    const instance = await stoker.ready('chat');
    let seen = 0;
    await assert.rejects(async () => {
      for await (const part of stream) if (part.message.content && ++seen === 3) stream.abort();
    }, { name: 'AbortError' });
    await stoker.activeBecomes(instance, 0);
    const row = await until('the row is there', async () => (await stoker.ledger())[0]);
    assert.equal(row.outcome, 'cancelled');
    assert.ok(row.usage.output_tokens >= 3);
    assert.equal(row.usage.output_tokens, (await stoker.stats(instance)).tokens);
  });
}

test('a worker that dies ends the stream with an error line', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 8, token_delay: '1ms', faults: { crash_at: 'token:3' } }) } });
  const stream = await clientOf(stoker).chat({ model: 'e', messages, stream: true });
  const seen = [];
  await assert.rejects(async () => { for await (const part of stream) seen.push(part); }, /instance/);
  assert.equal(seen.length, 3);
  assert.ok(seen.every((part) => !part.done));
  await assert.rejects(clientOf(stoker).chat({ model: 'e', messages }), (error) => error.status_code === 502 && /instance/.test(error.error));
});

test('models: what there is, what is in memory, what one is', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { a: echo({ memory: '8MiB' }), b: echo() } });
  const client = clientOf(stoker);
  assert.deepEqual((await client.list()).models.map((model) => model.name), ['a', 'b']);
  assert.deepEqual((await client.ps()).models, []);
  await client.generate({ model: 'a', prompt: '' });  // only loads it
  const loaded = await client.ps();
  assert.deepEqual(loaded.models.map((model) => model.name), ['a']);
  assert.ok(loaded.models[0].size > 0);
  assert.deepEqual((await client.show({ model: 'a' })).capabilities, ['completion']);
  assert.match((await client.version()).version, /^\d+\.\d+\.\d+$/);
  const { key } = await makeKey(stoker, '--deployments', 'b');
  assert.deepEqual((await clientOf(stoker, key).list()).models.map((model) => model.name), ['b']);
  assert.deepEqual((await clientOf(stoker, key).ps()).models, []);
  await assert.rejects(clientOf(stoker, key).show({ model: 'a' }), { status_code: 404 });
});

test('keep_alive: 0 lets the model go at once, a longer wish than configured changes nothing', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const client = clientOf(stoker);
  const gone = () => until('it is gone', async () => (await stoker.instances('e')).length === 0);
  const loaded = await client.generate({ model: 'e', prompt: '', keep_alive: '5m' });
  assert.equal(loaded.done_reason, 'load');
  await stoker.ready('e');
  const let_go = await client.chat({ model: 'e', messages: [], keep_alive: 0 });
  assert.equal(let_go.done_reason, 'unload');
  await gone();
  assert.equal((await client.chat({ model: 'e', messages: [], keep_alive: 0 })).done_reason, 'unload');
  assert.equal((await stoker.instances('e')).length, 0, 'to let go starts nothing');
  const answer = await client.chat({ model: 'e', messages, keep_alive: 0 });
  assert.ok(answer.message.content.length > 0);
  await gone();
  await client.chat({ model: 'e', messages, keep_alive: -1 });
  await stoker.ready('e');
  await assert.rejects(client.chat({ model: 'e', messages, keep_alive: 'soon' }), { status_code: 400 });
});

test('errors are {"error": "..."} with the status that the client shows; limits hold', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  await assert.rejects(clientOf(stoker).chat({ model: 'nobody', messages }), (error) => error.status_code === 404 && /nobody/.test(error.error));
  await assert.rejects(clientOf(stoker, 'wrong').list(), { status_code: 401 });
  await assert.rejects(clientOf(stoker).generate({ model: 'e', prompt: 'x', suffix: 'y' }), (error) => error.status_code === 400 && /suffix/.test(error.error));
  const { key } = await makeKey(stoker, '--rpm', '1');
  await all(await clientOf(stoker, key).chat({ model: 'e', messages, stream: true }));
  await assert.rejects(clientOf(stoker, key).chat({ model: 'e', messages, stream: true }), (error) => error.status_code === 429 && typeof error.error === 'string');
});

test('curl: streams are the default, as lines of JSON, and no content type is needed', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 3 }) } });
  const args = ['-N', '-H', `Authorization: Bearer ${stoker.key}`];
  const text = await curl(...args, '-D', '-', '-d', JSON.stringify({ model: 'e', messages }), `${stoker.url}/api/chat`);
  const [head, body] = text.split('\r\n\r\n');
  assert.match(head, /content-type: application\/x-ndjson/i);
  const lines = body.trimEnd().split('\n').map((line) => JSON.parse(line));
  assert.equal(lines.length, 4);
  assert.equal(lines.at(-1).eval_count, 3);
  const whole = JSON.parse(await curl(...args, '-d', JSON.stringify({ model: 'e', prompt: 'a b', stream: false }), `${stoker.url}/api/generate`));
  assert.equal(whole.done, true);
  const wrong = JSON.parse(await curl(...args, '-d', 'nothing', `${stoker.url}/api/chat`));
  assert.deepEqual(Object.keys(wrong), ['error']);
});
