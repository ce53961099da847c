// The unmodified `@huggingface/inference` client, pointed at Stoker as its endpoint.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InferenceClient } from '@huggingface/inference';
import { Stoker, echo, neverEndingLlama, hasEngines, llama, makeKey, until } from './lib/stoker.mjs';

const messages = [{ role: 'user', content: 'Tell me a story about an owl.' }];
const clientOf = (stoker, key = stoker.key) => new InferenceClient(key, { endpointUrl: `${stoker.url}/v1` });

const kinds = [
  { name: 'echo', chat: echo({ tokens: 6, token_delay: '1ms' }), slow: echo({ tokens: 100_000, token_delay: '5ms' }) },
  { name: 'llama.cpp', chat: llama(), slow: neverEndingLlama(), skip: !hasEngines && 'built without engines' },
];
for (const { name, chat, slow, skip } of kinds) {
  test(`${name}: chat completion whole, streamed and left`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat, slow } });
    const client = clientOf(stoker);
    const wish = { model: 'chat', messages, max_tokens: 16, temperature: 0 };
    const whole = await client.chatCompletion(wish);
    assert.ok(whole.choices[0].message.content.length > 5);
    let text = '';
    for await (const chunk of client.chatCompletionStream(wish)) {
      text += chunk.choices[0]?.delta?.content ?? '';
      assert.ok(!chunk.usage, 'nobody asked for usage');
    }
    assert.equal(text.trim(), whole.choices[0].message.content.trim());

    const aborter = new AbortController();
    let seen = 0;
    await assert.rejects(async () => {
      for await (const chunk of client.chatCompletionStream({ ...wish, model: 'slow', max_tokens: 100_000 }, { signal: aborter.signal })) {
        if (chunk.choices[0]?.delta?.content && ++seen === 3) aborter.abort();
      }
    });
    await stoker.activeBecomes(await stoker.ready('slow'), 0);
    const rows = await until('three rows', async () => { const got = await stoker.ledger(); return got.length === 3 ? got : undefined; });
    assert.equal(rows[0].outcome, 'cancelled');
    assert.ok(rows[0].usage.output_tokens >= 3);
    assert.equal(rows[1].usage.output_tokens, whole.usage.completion_tokens);
    assert.equal(rows[2].usage.output_tokens, whole.usage.completion_tokens);
  });
}

test('a wrong key, an unknown model and a limit are errors with their status', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const status = (wanted) => (error) => error.httpResponse?.status === wanted;
  await assert.rejects(clientOf(stoker, 'hf_wrong').chatCompletion({ model: 'e', messages }), status(401));
  await assert.rejects(clientOf(stoker).chatCompletion({ model: 'nobody', messages }), status(404));
  const { key } = await makeKey(stoker, '--rpm', '1');
  await clientOf(stoker, key).chatCompletion({ model: 'e', messages });
  await assert.rejects(clientOf(stoker, key).chatCompletion({ model: 'e', messages }), status(429));
});
