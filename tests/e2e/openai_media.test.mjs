// OpenAI's further routes: responses, rerank, and audio and images, which pass through to the
// worker; a form names its model as JSON does.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fs from 'node:fs';
import path from 'node:path';
import OpenAI, { toFile } from 'openai';
import { Stoker, curl, echo, neverEndingLlama, hasEngines, llama, makeKey, request, until } from './lib/stoker.mjs';

const clientOf = (stoker, key = stoker.key) => new OpenAI({ baseURL: `${stoker.url}/v1`, apiKey: key, maxRetries: 0 });
async function all(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const kinds = [
  { name: 'echo', chat: echo({ tokens: 6, token_delay: '1ms' }), rank: echo(), slow: echo({ tokens: 100_000, token_delay: '5ms' }) },
  { name: 'llama.cpp', chat: llama(), rank: llama({ embeddings: 'rank' }), slow: neverEndingLlama(), more: { temperature: 0, max_output_tokens: 24 }, skip: !hasEngines && 'built without engines' },
];
for (const { name, chat, slow, more, skip } of kinds) {
  test(`${name}: responses whole, streamed and left`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { chat, slow } });
    const client = clientOf(stoker);
    const wish = { model: 'chat', input: 'Tell me a story about an owl.', ...more };
    const whole = await client.responses.create(wish);
    assert.equal(whole.object, 'response');
    assert.ok(whole.output_text.length > 5);
    const events = await all(await client.responses.create({ ...wish, stream: true }));
    assert.equal(events[0].type, 'response.created');
    assert.match(events.at(-1).type, /^response\.(completed|incomplete)$/);
    const text = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta).join('');
    assert.equal(text.trim(), whole.output_text.trim());
    const stream = await client.responses.create({ model: 'slow', input: 'an owl', stream: true });
    let seen = 0;
    for await (const event of stream) if (event.type === 'response.output_text.delta' && ++seen === 3) break;
    const instance = await stoker.ready('slow');
    await stoker.activeBecomes(instance, 0);
    const rows = await until('three rows', async () => { const got = await stoker.ledger(); return got.length === 3 ? got : undefined; });
    assert.deepEqual(rows.map((row) => row.outcome), ['cancelled', 'completed', 'completed']);
    assert.equal(rows[0].usage.output_tokens, (await stoker.stats(instance)).tokens);
    assert.equal(rows[1].usage.output_tokens, whole.usage.output_tokens);
    assert.equal(rows[2].usage.output_tokens, whole.usage.output_tokens);
  });
}

test('rerank ranks and is counted', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const answer = await stoker.post('/v1/rerank', { model: 'e', query: 'an owl', documents: ['a bear', 'an owl'] });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.results.length, 2);
  const row = await until('the row', async () => (await stoker.ledger())[0]);
  assert.equal(row.route, 'rerank');
  assert.equal(row.usage.input_tokens, answer.json.usage.prompt_tokens);
});

test('audio and images: the body reaches the worker byte by byte, and each is one request on record', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const client = clientOf(stoker);
  const sound = Buffer.from(Array.from({ length: 70_000 }, (_, i) => i % 256));
  // The echo worker gives back what came: the form itself.
  const transcribed = await client.audio.transcriptions.create({ model: 'e', file: await toFile(sound, 'a.wav') }).asResponse();
  const back = Buffer.from(await transcribed.arrayBuffer());
  assert.ok(back.includes(sound));
  assert.match(transcribed.headers.get('content-type'), /^multipart\/form-data/);
  const speech = await client.audio.speech.create({ model: 'e', voice: 'alloy', input: 'an owl' });
  assert.equal(JSON.parse(Buffer.from(await speech.arrayBuffer()).toString()).input, 'an owl');
  const image = await client.images.generate({ model: 'e', prompt: 'an owl' });
  assert.equal(image.prompt, 'an owl');
  const edited = await client.images.edit({ model: 'e', prompt: 'an owl', image: await toFile(sound, 'a.png', { type: 'image/png' }) }).asResponse();
  assert.ok(Buffer.from(await edited.arrayBuffer()).includes(sound));
  const rows = await until('four rows', async () => { const got = await stoker.ledger(); return got.length === 4 ? got : undefined; });
  assert.deepEqual(rows.map((row) => row.route), ['images', 'images', 'speech', 'transcriptions']);
  assert.ok(rows.every((row) => row.outcome === 'completed'));
});

test('curl: a model in the form, in the query, in a field; malformed and doubtful forms are refused', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const file = path.join(stoker.folder, 'a.wav');
  fs.writeFileSync(file, 'RIFF');
  const auth = ['-H', `Authorization: Bearer ${stoker.key}`, '-w', '\n%{http_code}'];
  const url = `${stoker.url}/v1/audio/transcriptions`;
  const status = async (...args) => (await curl(...auth, ...args)).split('\n').at(-1);
  assert.equal(await status('-F', `file=@${file}`, '-F', 'model=e', url), '200');
  assert.equal(await status('-F', 'model=e', '-F', `file=@${file}`, url), '200');
  assert.equal(await status('-F', `file=@${file}`, `${url}?model=e`), '200');
  assert.equal(await status('-F', `file=@${file}`, '-H', 'X-Stoker-Model: e', url), '200');
  assert.equal(await status('--data-binary', `@${file}`, '-H', 'Content-Type: audio/wav', '-H', 'X-Stoker-Model: e', url), '200');
  assert.equal(await status('-F', `file=@${file}`, url), '400');
  assert.equal(await status('-F', 'model=e', '-F', 'model=e', url), '400');
  assert.equal(await status('-F', 'model=nobody', url), '404');
  const broken = { method: 'POST', headers: { ...stoker.headers, 'content-type': 'multipart/form-data; boundary=b' }, body: Buffer.from('--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ne\r\n') };
  const refused = await request(url, broken);
  assert.equal(refused.status, 400);
  assert.equal(refused.json.error.code, 'invalid_form');
});

test('limits and keys hold on every route', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const limited = await makeKey(stoker, '--rpm', '1');
  const wishes = [['/v1/rerank', { query: 'q', documents: ['d'] }], ['/v1/responses', { input: 'x' }], ['/v1/images/generations', { prompt: 'x' }], ['/v1/audio/speech', { input: 'x' }]];
  for (const [route, body] of wishes) {
    const answer = await request(stoker.url + route, { method: 'POST', headers: { authorization: 'Bearer no' }, body: { model: 'e', ...body } });
    assert.equal(answer.status, 401, route);
  }
  await clientOf(stoker, limited.key).responses.create({ model: 'e', input: 'x' });
  for (const [route, body] of wishes) {
    const answer = await request(stoker.url + route, { method: 'POST', headers: { authorization: `Bearer ${limited.key}` }, body: { model: 'e', ...body } });
    assert.equal(answer.status, 429, route);
    assert.equal(answer.json.error.code, 'rate_limit_exceeded');
  }
});
