// Usage is true: what the engine says, what the ledger has, what is billed, for each route and each
// way a request can end (G11 in RELIABILITY.md).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stoker, endlessLlama, hasEngines, llama, openStream, readAll, sseEvents } from './lib/stoker.mjs';

const skip = !hasEngines && 'built without engines';
const messages = [{ role: 'user', content: 'Tell me a story about an owl.' }];
const prices = { per_request: '$0.000123457', per_gpu_second: '$0.000100003', per_1k_input_tokens: '$0.001000001', per_1k_output_tokens: '$0.002000003' };
const deterministic = { temperature: 0, max_tokens: 24, cache_prompt: false };

/// The exact amount in pico-units, from the prices in nano-units, as decimal text.
function amountOf({ input_tokens, output_tokens, device_ms }) {
  const nano = (text) => BigInt(Math.round(Number(text.slice(1)) * 1e9));
  const pico = nano(prices.per_request) * 1000n + nano(prices.per_gpu_second) * BigInt(device_ms) +
    nano(prices.per_1k_input_tokens) * BigInt(input_tokens) + nano(prices.per_1k_output_tokens) * BigInt(output_tokens);
  const text = pico.toString().padStart(13, '0');
  return `${text.slice(0, -12)}.${text.slice(-12)}`.replace(/\.?0+$/, '');
}

/// What must hold for the row of any request that ran.
function checkRow(row) {
  assert.equal(row.usage.known, true);
  assert.ok(row.usage.device_ms >= 0 && row.usage.device_ms <= Math.ceil(row.phases_ms.total) + 1, JSON.stringify(row));
  assert.ok(row.usage.cached_tokens <= row.usage.input_tokens);
  assert.equal(row.amount, amountOf(row.usage));
}

/// One whole stream: its row, its events with data, the id.
async function streamed(stoker, target, body) {
  const { res } = await openStream(stoker.url + target, { ...body, stream: true }, stoker.headers);
  const events = sseEvents(await readAll(res)).filter((event) => event.data);
  assert.equal(res.statusCode, 200, JSON.stringify(events));
  return { events, row: await stoker.row(res.headers['x-request-id']) };
}

const withUsage = (events) => events.filter((e) => e.data !== '[DONE]').map((e) => JSON.parse(e.data)).filter((chunk) => chunk.usage);

test('unary, streamed and aborted answers have the same true counts', { skip }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { chat: endlessLlama({}, { concurrency: 2, pricing: prices }) } });
  const unary = await stoker.chat('chat', deterministic);
  assert.equal(unary.status, 200);
  const { prompt_tokens: input, completion_tokens: output } = unary.json.usage;
  assert.ok(input > 5 && output > 5);
  const row = await stoker.row(unary.headers['x-request-id']);
  checkRow(row);
  assert.ok(row.usage.device_ms > 0);
  assert.deepEqual([row.usage.input_tokens, row.usage.output_tokens], [input, output]);

  const asked = await streamed(stoker, '/v1/chat/completions', { model: 'chat', messages, ...deterministic, stream_options: { include_usage: true } });
  const [event] = withUsage(asked.events);
  assert.equal(asked.events.at(-1).data, '[DONE]');
  assert.deepEqual(event.choices, []);
  assert.deepEqual([event.usage.prompt_tokens, event.usage.completion_tokens], [input, output]);
  assert.deepEqual([asked.row.usage.input_tokens, asked.row.usage.output_tokens], [input, output]);
  checkRow(asked.row);

  const silent = await streamed(stoker, '/v1/chat/completions', { model: 'chat', messages, ...deterministic });
  assert.deepEqual(withUsage(silent.events), [], 'who did not ask sees no usage event');
  assert.deepEqual([silent.row.usage.input_tokens, silent.row.usage.output_tokens], [input, output]);
  checkRow(silent.row);

  const [instance] = await stoker.instances('chat');
  const before = (await stoker.stats(instance)).tokens;
  const leaving = await stoker.stream('chat', { ignore_eos: true, max_tokens: 100_000, cache_prompt: false });
  leaving.res.once('data', leaving.leave);
  await new Promise((resolve) => { leaving.res.once('close', resolve); });
  const { stats } = await stoker.activeBecomes(instance, 0);
  const aborted = await stoker.row(leaving.res.headers['x-request-id']);
  assert.equal(aborted.outcome, 'cancelled');
  assert.equal(aborted.usage.output_tokens, stats.tokens - before);
  assert.equal(aborted.usage.input_tokens, input);
  checkRow(aborted);
});

test('cached tokens, several choices, several prompts, embeddings', { skip }, async (t) => {
  const stoker = await Stoker.start(t, {
    deployments: {
      chat: llama({}, { concurrency: 4, pricing: prices }),
      vectors: llama({ embeddings: 'mean' }, { pricing: prices }),
    },
  });
  const options = { temperature: 0, max_tokens: 8 };
  await stoker.chat('chat', options);
  const again = await stoker.chat('chat', options);
  const cached = await stoker.row(again.headers['x-request-id']);
  assert.ok(cached.usage.cached_tokens > 0);
  assert.equal(cached.usage.cached_tokens, again.json.usage.prompt_tokens_details.cached_tokens);
  checkRow(cached);

  const several = await stoker.chat('chat', { max_tokens: 6, ignore_eos: true, n: 3 });
  assert.equal(several.json.choices.length, 3);
  const choices = await stoker.row(several.headers['x-request-id']);
  assert.equal(choices.usage.output_tokens, 18, 'the tokens of all choices');
  checkRow(choices);

  const before = (await stoker.stats(await stoker.ready('chat'))).tokens;
  const prompts = await stoker.post('/v1/completions', { model: 'chat', prompt: ['Once upon a time', 'The owl'], max_tokens: 5, ignore_eos: true, cache_prompt: false });
  assert.equal(prompts.status, 200, prompts.text);
  const both = await stoker.row(prompts.headers['x-request-id']);
  assert.equal(both.usage.output_tokens, 10);
  assert.equal((await stoker.stats(await stoker.ready('chat'))).tokens - before, 10);
  let alone = 0;
  for (const prompt of ['Once upon a time', 'The owl']) {
    const one = await stoker.post('/v1/completions', { model: 'chat', prompt, max_tokens: 5, ignore_eos: true, cache_prompt: false });
    alone += one.json.usage.prompt_tokens;
  }
  assert.equal(both.usage.input_tokens, alone);
  checkRow(both);

  const vectors = await stoker.post('/v1/embeddings', { model: 'vectors', input: ['an owl', 'two owls in a tree'] });
  assert.equal(vectors.json.data.length, 2, vectors.text);
  const embedded = await stoker.row(vectors.headers['x-request-id']);
  assert.equal(embedded.usage.input_tokens, vectors.json.usage.prompt_tokens);
  assert.equal(embedded.usage.output_tokens, 0);
  checkRow(embedded);
});

test('OpenAI responses and Anthropic messages are metered like chat', { skip }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { chat: llama({}, { pricing: prices }) } });
  const asked = {
    '/v1/responses': { model: 'chat', input: 'Tell me a story about an owl.', temperature: 0, max_output_tokens: 12 },
    '/v1/messages': { model: 'chat', messages, temperature: 0, max_tokens: 12 },
  };
  for (const [target, body] of Object.entries(asked)) {
    const unary = await stoker.post(target, body);
    assert.equal(unary.status, 200, unary.text);
    const row = await stoker.row(unary.headers['x-request-id']);
    checkRow(row);
    // Anthropic's input_tokens are those that were not read from a cache.
    const cached = unary.json.usage.cache_read_input_tokens ?? 0;
    assert.equal(row.usage.input_tokens, unary.json.usage.input_tokens + cached, unary.text);
    assert.equal(row.usage.output_tokens, unary.json.usage.output_tokens, unary.text);
    const stream = await streamed(stoker, target, body);
    assert.equal(stream.events.at(-1).event, target === '/v1/messages' ? 'message_stop' : 'response.completed');
    assert.equal(stream.row.outcome, 'completed');
    assert.equal(stream.row.usage.output_tokens, row.usage.output_tokens);
    assert.equal(stream.row.usage.input_tokens, row.usage.input_tokens);
    checkRow(stream.row);
  }
});

test('two requests at the same time on one instance share its time', { skip }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { chat: llama({}, { concurrency: 2, pricing: prices, autoscaling: { max_instances: 1 } }) } });
  await stoker.chat('chat', { max_tokens: 1 });
  const begun = performance.now();
  const answers = await Promise.all([1, 2].map(() => stoker.chat('chat', { ignore_eos: true, max_tokens: 200 })));
  const wall = performance.now() - begun;
  const rows = await Promise.all(answers.map((answer) => stoker.row(answer.headers['x-request-id'])));
  rows.forEach(checkRow);
  const billed = rows.reduce((sum, row) => sum + row.usage.device_ms, 0);
  const apart = rows.reduce((sum, row) => sum + row.phases_ms.ttft + row.phases_ms.generate, 0);
  // Each row is rounded to a millisecond once.
  assert.ok(billed <= wall + 1, `${billed} ms billed in ${wall} ms`);
  assert.ok(billed < apart, 'they ran at the same time, so each pays less than its own duration');
  t.diagnostic(`${billed} ms billed within ${wall.toFixed(1)} ms; ${apart.toFixed(1)} ms were they billed apart`);
});
