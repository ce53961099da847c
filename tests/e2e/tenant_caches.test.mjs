// What an engine keeps of a prompt serves the tenant alone that sent it (C8): llama.cpp's slots and prompts in memory, and by `cache_salt`
// what vLLM and SGLang keep.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import path from 'node:path';
import { test } from 'node:test';
import { Stoker, hasEngines, llama, makeKey, openStream, readAll, repository, request, sseEvents } from './lib/stoker.mjs';

const skip = !hasEngines && 'built without engines';
const story = 'Once upon a time there was an owl who lived in an old tree by the river. '.repeat(4);
const messages = [{ role: 'user', content: story }];
const few = { temperature: 0, max_tokens: 2 };

/// A server, and for a tenant's name what asks for it: (target, body) -> tokens that it was given from a cache, by the ledger's word.
async function start(t, deployments) {
  const stoker = await Stoker.start(t, { deployments });
  const tenant = async (name) => {
    const { key } = await makeKey(stoker, '--tenant', name, '--scopes', 'inference');
    return async (target, body) => {
      const answer = await request(stoker.url + target, { method: 'POST', body, headers: { authorization: `Bearer ${key}` } });
      assert.equal(answer.status, 200, answer.text);
      return (await stoker.row(answer.headers['x-request-id'])).usage.cached_tokens;
    };
  };
  return { stoker, tenant };
}

const routes = {
  chat: ['/v1/chat/completions', { model: 'm', messages, ...few }],
  completions: ['/v1/completions', { model: 'm', prompt: story, ...few }],
  several: ['/v1/chat/completions', { model: 'm', messages, ...few, n: 2 }],
  messages: ['/v1/messages', { model: 'm', messages, ...few }],
  responses: ['/v1/responses', { model: 'm', input: story, temperature: 0, max_output_tokens: 2 }],
  ollama: ['/api/chat', { model: 'm', messages, stream: false, options: { num_predict: 2, temperature: 0 } }],
  pass_through: ['/invoke/m/completion', { prompt: story, n_predict: 2, temperature: 0 }],
  named_slot: ['/invoke/m/completion', { prompt: story, n_predict: 2, temperature: 0, id_slot: 0 }],
};

for (const [what, rest, options] of [['one slot', { concurrency: 1 }, {}], ['four slots', { concurrency: 4 }, {}], ['four slots and stored prompts', { concurrency: 4 }, { prompt_cache_memory: '64MiB' }]]) {
  test(`${what}: the prompt of another tenant is computed anew on every route`, { skip }, async (t) => {
    const { tenant } = await start(t, { m: llama({ ...options }, { ...rest, autoscaling: { max_instances: 1 } }) });
    const a = await tenant('a');
    for (const [name, [target, body]] of Object.entries(routes)) {
      if (name === 'several' && rest.concurrency === 1) continue;
      await a(target, body);
      assert.ok(await a(target, body) > 0, `${name}: its own is reused`);
      const b = await tenant(`b-${name}`);
      assert.equal(await b(target, body), 0, `${name}: another tenant's is not`);
      assert.ok(await b(target, body) > 0, `${name}: and then it has its own`);
    }
  });
}

test('a stored prompt comes back to its own tenant after another took the slot', { skip }, async (t) => {
  const { tenant } = await start(t, { m: llama({ prompt_cache_memory: '64MiB' }, { concurrency: 1, autoscaling: { max_instances: 1 } }) });
  const [a, b] = [await tenant('a'), await tenant('b')];
  const ask = (who) => who(...routes.completions);
  assert.equal(await ask(a), 0);
  assert.equal(await ask(b), 0);
  assert.ok(await ask(a) > 0);
  assert.ok(await ask(b) > 0);
});

test('a slot that a client names is not taken from the one who is using it', { skip }, async (t) => {
  const { stoker, tenant } = await start(t, { m: llama({ prompt_cache_memory: '64MiB' }, { concurrency: 2, autoscaling: { max_instances: 1 } }) });
  const b = await tenant('b');
  const body = { prompt: 'Something else entirely.', n_predict: 1, id_slot: 0 };
  assert.equal(await b('/invoke/m/completion', body), 0);
  const { res } = await openStream(`${stoker.url}/invoke/m/completion`, { prompt: story, n_predict: 400, temperature: 0, ignore_eos: true, id_slot: 0, stream: true }, stoker.headers);
  await once(res, 'readable');  // it holds the slot
  const ended = [];
  const [text] = await Promise.all([
    readAll(res).then((all) => { ended.push('long'); return all; }),
    b('/invoke/m/completion', body).then(() => ended.push('short')),
  ]);
  assert.deepEqual(ended, ['long', 'short']);
  const last = sseEvents(text).filter((event) => event.data).map((event) => JSON.parse(event.data)).at(-1);
  assert.deepEqual([last.stop_type, last.tokens_predicted], ['limit', 400]);
});

// Its command names vLLM.
const likeVllm = (rest = {}) => ({ runtime: 'command', command: ['/usr/bin/node', path.join(repository, 'tests/contract/servers/vllm_like_server.mjs'), '{port}'],
  served_model_name: 'org/served', autoscaling: { max_instances: 1 }, ...rest });

test('an engine that shares prompts by their salt is sent one for each tenant, whatever the client writes', async (t) => {
  const { tenant } = await start(t, { m: likeVllm() });
  const served = { model: 'org/served' };
  const ways = {
    ...routes, pass_through: ['/invoke/m/v1/completions', { ...served, prompt: story }],
    own_salt: ['/v1/chat/completions', { model: 'm', messages, cache_salt: 'x' }],
    forged: ['/invoke/m/v1/completions', { ...served, prompt: story, cache_salt: 'stoker-1:' }],
  };
  delete ways.named_slot;
  for (const [name, [target, body]] of Object.entries(ways)) {
    const a = await tenant(`a-${name}`);
    const b = await tenant(`b-${name}`);
    assert.equal(await a(target, body), 0, `${name}: nobody else's`);
    assert.ok(await a(target, body) > 0, `${name}: its own is reused`);
    assert.equal(await b(target, body), 0, `${name}: another tenant's is not`);
  }
});

test('without a salt such an engine reuses what others wrote', async (t) => {
  const { tenant } = await start(t, { m: likeVllm({ cache_salt: 'off' }) });
  const [a, b] = [await tenant('a'), await tenant('b')];
  assert.equal(await a(...routes.chat), 0);
  assert.ok(await b(...routes.chat) > 0);
});
