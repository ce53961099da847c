// The document that a running server gives is valid OpenAPI, and what the server answers is what it
// says, for every operation of it.
import assert from 'node:assert/strict';
import { once as first } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import WebSocket from 'ws';
import { ApiDocument } from './lib/api_document.mjs';
import { Stoker, echo, hasEngines, makeKey, onnxModel, openStream, readAll, repository, request, sseEvents, until } from './lib/stoker.mjs';

const once = { max_instances: 1 };
const messages = [{ role: 'user', content: 'Tell me a story about an owl.' }];
const bearer = (key) => ({ authorization: `Bearer ${key}` });

/// Requests as the admin key, each answer held against the document and its status asserted.
function clientOf(stoker, api) {
  const call = async (method, target, status, { body, headers } = {}) => {
    const answer = await request(stoker.url + target, { method, body, headers: { ...stoker.headers, ...headers } });
    assert.equal(answer.status, status, `${method} ${target}: ${answer.text}`);
    return api.checkAnswer(method, target, answer);
  };
  return {
    get: (target, status = 200, headers) => call('GET', target, status, { headers }),
    post: (target, body, status = 200, headers) => call('POST', target, status, { body, headers }),
    call,
  };
}

/// Of every operation, what it answers to whom it must not serve.
async function refuseEverybody(stoker, api) {
  const example = (path) => path.replace(/\{[^}]+\}/g, 'e');
  const reader = (await makeKey(stoker, '--scopes', 'read')).key;
  const runner = (await makeKey(stoker, '--scopes', 'inference')).key;
  for (const { path, method, name } of api.operations) {
    const [security] = api.document.paths[path][method].security;
    if (!security) continue;
    const target = example(path);
    const ask = (headers) => request(stoker.url + target, { method: method.toUpperCase(), headers });
    const nobody = api.checkAnswer(method, target, await ask({}));
    assert.equal(nobody.status, 401, name);
    const other = security.bearer[0] === 'inference' ? reader : runner;
    const wrong = api.checkAnswer(method, target, await ask(bearer(other)));
    assert.equal(wrong.status, 403, name);
  }
}

async function runModels({ get, post, call }, stoker, api) {
  for (const [target, body] of [
    ['/v1/chat/completions', { model: 'e', messages }], ['/v1/completions', { model: 'e', prompt: 'an owl' }],
    ['/v1/embeddings', { model: 'e', input: 'an owl' }], ['/v1/rerank', { model: 'e', query: 'an owl', documents: ['an owl'] }],
    ['/v1/responses', { model: 'e', input: 'an owl' }], ['/v1/messages', { model: 'e', max_tokens: 5, messages }],
    ['/v1/messages/count_tokens', { model: 'e', messages }], ['/v1/audio/speech', { model: 'e', input: 'an owl' }],
    ['/v1/images/generations', { model: 'e', prompt: 'an owl' }]]) {
    const answer = await post(target, body);
    assert.ok(['cold', 'warm'].includes(answer.headers['x-stoker-start']));
    assert.match(answer.headers['server-timing'], /^queue;dur=.*total;dur=/);
    await post(target, { ...body, model: 'nobody' }, 404);
    await post(target, { ...body, model: 1 }, 400);
    if (!/audio|images/.test(target)) await post(target, 'x', 415, { 'content-type': 'text/plain' });
  }
  // What the engine refuses goes on, in Anthropic's shape where that is the route's.
  for (const target of ['/v1/chat/completions', '/v1/messages']) {
    assert.ok((await post(target, { model: 'e' }, 400)).headers['x-stoker-start']);
  }
  for (const target of ['/v1/audio/transcriptions', '/v1/audio/translations', '/v1/images/edits', '/v1/images/variations']) {
    await post(`${target}?model=e`, 'RIFF', 200, { 'content-type': 'audio/wav' });
    await post(target, 'RIFF', 400, { 'content-type': 'audio/wav' });
  }
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
    await call(method, '/invoke/e/any/thing', 200, { body: method === 'GET' ? undefined : { a: 1 } });
    await call(method, '/invoke/nobody/', 404);
  }
  // Streams, with the receipt before their end.
  for (const [target, body] of [['/v1/chat/completions', { model: 'e', messages, stream: true }], ['/v1/messages', { model: 'e', max_tokens: 5, messages, stream: true }],
    ['/v1/responses', { model: 'e', input: 'an owl', stream: true }]]) {
    const events = sseEvents((await post(target, body)).text);
    const receipt = events.find((event) => event.comment?.startsWith('stoker '));
    api.checkNamed('StreamReceipt', JSON.parse(receipt.comment.slice('stoker '.length)));
  }
}

/// A stream that its client takes up again, and what a cold one tells meanwhile.
async function resumeStreams({ get, post }, stoker, api) {
  const asked = { model: 'cold', messages, stream: true };
  const { headers, text } = await post('/v1/chat/completions', asked, 200, { 'x-stoker-resumable': '2s', 'x-stoker-progress': 'true' });
  const told = sseEvents(text).filter(({ event }) => event === 'stoker.progress');
  assert.ok(told.length > 0, text);
  for (const { data } of told) api.checkNamed('StreamProgress', JSON.parse(data));
  const target = `/v1/streams/${headers['x-request-id']}`;
  assert.match((await get(target)).text, /^: resumed\n\nid: 1\n/);
  const last = /id: (\d+)\ndata: \[DONE\]/.exec(text)[1];
  await get(target, 204, { 'last-event-id': last });
  await get(target, 400, { 'last-event-id': 'x' });
  await get('/v1/streams/req-0000000000000000', 404);
  await until('it is not kept any more', async () => (await request(stoker.url + target, { headers: stoker.headers })).status === 410);
  await get(target, 410);
  for (const name of ['x-stoker-resumable', 'x-stoker-progress', 'x-stoker-deadline', 'cancel-after']) await post('/v1/chat/completions', asked, 400, { [name]: 'odd' });
  await post('/v1/chat/completions', { ...asked, model: 'slow', stream: false }, 504, { 'x-stoker-deadline': '500ms' });
  await post('/v1/messages', { ...asked, model: 'slow', stream: false }, 504, { 'x-stoker-deadline': '500ms' });
}

async function useOllama({ get, post }, api) {
  for (const [target, schema, body] of [['/api/chat', 'OllamaChat', { messages }], ['/api/generate', 'OllamaGeneration', { prompt: 'an owl' }]]) {
    assert.equal((await post(target, { model: 'e', stream: false, ...body })).json.done, true);
    const lines = (await post(target, { model: 'e', ...body })).text.split('\n').filter((line) => line.trim() !== '').map(JSON.parse);
    assert.ok(lines.length > 2);
    for (const line of lines) api.checkNamed(schema, line);
    assert.equal((await post(target, { model: 'e', stream: false })).json.done_reason, 'load');
    await post(target, { model: 'nobody', ...body }, 404);
    await post(target, { model: 'e', stream: 1 }, 400);
  }
  await post('/api/embed', { model: 'e', input: ['an owl', 'a bear'] });
  await post('/api/embed', { model: 'e' }, 400);
  await post('/api/embeddings', { model: 'e', prompt: 'an owl' });
  await post('/api/embeddings', { model: 'nobody', prompt: 'an owl' }, 404);
  await get('/api/tags');
  assert.equal((await get('/api/ps')).json.models.length, 1);
  await get('/api/version');
  await post('/api/show', { model: 'e' });
  await post('/api/show', { model: 'nobody' }, 404);
  await post('/api/show', {}, 400);
}

async function lookAround({ get, post }) {
  assert.deepEqual((await get('/v1/models')).json.data.find((model) => model.id === 'e').aliases, ['org/owl']);
  await get('/v1/models/org/owl');
  await get('/v1/models/nobody', 404);
  for (const target of ['/v2', '/v2/health/live', '/v2/health/ready', '/v2/models/e/ready', '/v2/models/e/versions/1/ready', '/healthz', '/readyz', '/metrics']) await get(target);
  await get('/v2/models/nobody/ready', 404);
  await get('/v2/models/nobody/versions/1/ready', 404);
  for (const target of ['/v2/models/e', '/v2/models/e/versions/1']) {
    await get(target);
    await post(`${target}/infer`, { inputs: [] });
    await post(`${target}/infer`, 'x', 400, { 'content-type': 'application/json' });
    await post(`${target.replace('/e', '/nobody')}/infer`, { inputs: [] }, 404);
    await get(target.replace('/e', '/nobody'), 404);
  }
  const document = await get('/openapi.json');
  await get('/openapi.json', 304, { 'if-none-match': document.headers.etag });
}

async function runJobs({ get, post, call }) {
  const { json: { id } } = await post('/v2/e/run', { input: { prompt: 'an owl' } });
  for (const method of ['GET', 'POST']) {
    const { json } = await call(method, `/v2/e/status-sync/${id}`, 200);
    assert.equal(json.status, 'COMPLETED');
    await call(method, `/v2/e/status/${id}`, 200);
    await call(method, `/v2/e/stream/${id}`, 200);
    for (const verb of ['status', 'status-sync', 'stream']) {
      await call(method, `/v2/e/${verb}/job-none`, 404);
      await call(method, `/v2/nobody/${verb}/${id}`, 404);
    }
  }
  await post('/v2/e/runsync', { input: { messages, stream: true } });
  await post('/v2/e/run', {}, 400);
  await post('/v2/e/runsync', { input: 1 }, 400);
  await post('/v2/nobody/run', { input: {} }, 404);
  await post(`/v2/e/cancel/${id}`, undefined, 200);
  await post('/v2/e/cancel/job-none', undefined, 404);
  await post(`/v2/e/retry/${id}`, undefined, 409);
  await post('/v2/e/retry/job-none', undefined, 404);
  // One that runs, some that wait.
  const running = (await post('/v2/slow/run', { input: { prompt: 'an owl' } })).json.id;
  const waiting = (await post('/v2/slow/run', { input: { prompt: 'an owl' } })).json.id;
  await until('it runs', async () => (await get(`/v2/slow/status/${running}`)).json.status === 'IN_PROGRESS');
  assert.ok((await get(`/v2/slow/status/${waiting}`)).json.queuePosition >= 1);
  await post('/v2/slow/purge-queue', undefined, 200);
  await post(`/v2/slow/cancel/${running}`, undefined, 200);
  await post(`/v2/slow/retry/${running}`, undefined, 200);
  for (const job of [running, waiting]) await post(`/v2/slow/cancel/${job}`, undefined, 200);
  assert.equal((await get('/v2/slow/requests')).json.requests.length, 2);
  await get('/v2/slow/health');
  for (const target of ['health', 'requests']) await get(`/v2/nobody/${target}`, 404);
  await post('/v2/nobody/purge-queue', undefined, 404);
}

/// The same request under an Idempotency-Key, and requests that go on as jobs, in each dialect.
async function askAgain({ post, get }, stoker) {
  const asked = [['/v1/chat/completions', (model) => ({ model, messages })], ['/v1/messages', (model) => ({ model, max_tokens: 100_000, messages })],
    ['/api/chat', (model) => ({ model, messages, stream: false })], ['/v2/models/e/infer', () => ({ inputs: [] })], ['/invoke/e/x', () => ({})]];
  for (const [target, body] of asked) {
    const key = { 'idempotency-key': target };
    await post(target, body('e'), 200, key);
    assert.equal((await post(target, body('e'), 200, key)).headers['idempotent-replayed'], 'true');
    await post(target, { ...body('e'), other: 1 }, 422, key);
    await post(target, body('e'), 400, { 'idempotency-key': 'x'.repeat(256) });
  }
  for (const [target, body] of asked.slice(0, 3)) {
    const key = { 'idempotency-key': `running ${target}` };
    const { leave } = await openStream(stoker.url + target, { ...body('slow'), stream: true }, { ...stoker.headers, ...key });
    await post(target, { ...body('slow'), stream: true }, 409, key);
    leave();
  }
  for (const [target, body] of asked.filter(([target]) => target !== '/api/chat')) {
    const named = { prefer: 'wait=30', 'idempotency-key': `job ${target}` };
    assert.match((await post(target, body('e'), 200, named)).headers['x-stoker-job'], /^job-/);
    await post(target, { ...body('e'), other: 1 }, 422, named);
  }
  for (const [target, body] of asked.slice(0, 2)) {
    const accepted = await post(target, body('slow'), 202, { prefer: 'respond-async' });
    await get(accepted.headers.location);
    // Whoever waits for it in vain is told as the route tells it.
    const named = { prefer: 'wait=30', 'idempotency-key': `cancelled ${target}` };
    const waits = post(target, body('slow'), 409, named);
    const job = await until('it is there', async () =>
      (await get('/v2/slow/requests')).json.requests.find(({ id, status }) => id !== accepted.json.id && !/CANCELLED/.test(status)));
    await post(`/v2/slow/cancel/${job.id}`, undefined, 200);
    await waits;
    await post(`/v2/slow/cancel/${accepted.json.id}`, undefined, 200);
    await post(target, body('late'), 504, { prefer: 'wait=30' });
  }
}

async function hearOfJobs(t, { post, get }, api) {
  const server = http.createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await first(server, 'listening');
  const called = first(server, 'request');
  const { json: { id } } = await post('/v2/e/run', { input: { prompt: 'an owl' }, webhook: `http://127.0.0.1:${server.address().port}/` });
  const [req, res] = await called;
  const text = await readAll(req);
  res.writeHead(204).end();
  assert.equal(JSON.parse(text).id, id);
  const at = '#/components/callbacks/JobEnded/{$request.body#~1webhook}/post';
  api.check(`${at.replaceAll('{', '%7B').replaceAll('}', '%7D').replaceAll('$', '%24').replaceAll('#~1', '%23~1')}/requestBody/content/application~1json/schema`, JSON.parse(text), 'the webhook');
  const { parameters } = api.document.components.callbacks.JobEnded['{$request.body#/webhook}'].post;
  for (const { name, required } of parameters) assert.ok(!required || req.headers[name] !== undefined, name);
  for (const name of Object.keys(req.headers).filter((one) => one.startsWith('webhook-'))) assert.ok(parameters.some((one) => one.name === name), `${name} is not in the document`);
  await get('/api/v1/webhooks/secret');
  await get('/api/v1/webhooks/secret?tenant=%20', 400);
  await post('/v2/e/run', { input: { prompt: 'an owl' }, webhook: 'http://10.0.0.1/' }, 400);
}

async function administer({ get, post, call }, stoker, api) {
  const { json: all } = await get('/api/v1/ps');
  assert.ok(all.devices.length > 0 && all.instances.some((instance) => instance.state === 'ready'));
  await get('/api/v1/ps?deployment=org/owl');
  await get('/api/v1/ps?deployment=nobody', 404);
  assert.ok((await get('/api/v1/events')).json.events.length > 3);
  assert.ok((await get('/api/v1/decisions?limit=1000')).json.decisions.length > 0);
  for (const what of ['events', 'decisions']) {
    await get(`/api/v1/${what}?limit=x`, 400);
    await get(`/api/v1/${what}?deployment=nobody`, 404);
  }
  const [res] = await first(http.get(`${stoker.url}/api/v1/events?follow=1`, { headers: stoker.headers, agent: false }), 'response');
  let followed = '';
  for await (const part of res) {
    followed += part;
    if (followed.includes('data: ')) break;
  }
  api.checkAnswer('GET', '/api/v1/events', { status: res.statusCode, headers: res.headers, text: followed });
  const event = sseEvents(followed).find(({ data }) => data !== undefined);
  api.checkNamed('Event', JSON.parse(event.data));

  await get('/api/v1/logs/e');
  await get('/api/v1/logs/e/1?lines=3');
  await get('/api/v1/logs/nobody', 404);
  await get('/api/v1/logs/e?lines=-1', 400);
  const { json: { requests } } = await get('/api/v1/requests?limit=10000');
  assert.deepEqual([...new Set(requests.map((row) => row.start))].sort(), ['cold', 'none', 'warm']);
  await get('/api/v1/requests?outcome=completed&deployment=e');
  await get('/api/v1/requests?outcome=odd', 400);
  await get('/api/v1/requests?deployment=nobody', 404);
  await get(`/api/v1/requests/${requests[0].request}`);
  await get('/api/v1/requests/req-0000000000000000', 404);
  for (const by of ['deployment', 'tenant', 'day']) assert.ok((await get(`/api/v1/usage?by=${by}`)).json.usage.length > 0);
  await get('/api/v1/usage?from=x', 400);
  await get('/api/v1/usage?deployment=nobody', 404);
  await post('/api/v1/warm/org/owl', undefined, 202);
  await post('/api/v1/warm/e/1', undefined, 400);
  await post('/api/v1/warm/nobody', undefined, 404);
  await post('/api/v1/warm/huge', undefined, 503);
  await post('/api/v1/stop/slow', undefined, 202);
  await post('/api/v1/stop/nobody', undefined, 404);
}

async function manageKeys({ get, post, call }) {
  const limits = { requests_per_minute: 5, input_tokens_per_minute: 6, output_tokens_per_minute: 7, concurrent_requests: 8, gpu_seconds_per_day: 9 };
  const { json: { id } } = await post('/api/v1/keys', { tenant: 'birds', name: 'owl', scopes: ['inference', 'read'], deployments: ['e'], expires_in_s: 60, limits }, 201);
  await post('/api/v1/keys', undefined, 201);
  await post('/api/v1/keys', { odd: 1 }, 400);
  await call('PATCH', `/api/v1/keys/${id}`, 200, { body: { name: 'bear', enabled: false, limits: {} } });
  await call('PATCH', `/api/v1/keys/${id}`, 400, { body: { tenant: 'x' } });
  await call('PATCH', '/api/v1/keys/key-none', 404, { body: { name: 'x' } });
  await call('DELETE', `/api/v1/keys/${id}?hard=1`, 200);
  await call('DELETE', '/api/v1/keys/key-none', 404);
  const { json: { keys } } = await get('/api/v1/keys');
  const first = keys.find((key) => key.scopes === 'inference,read,admin');
  await call('DELETE', `/api/v1/keys/${first.id}`, 409);
}

/// Each dialect's refusal by a limit, with the time at which it may be tried again.
async function passLimits({ post }, stoker) {
  for (const [target, body] of [
    ['/v1/chat/completions', { model: 'e', messages }], ['/v1/messages', { model: 'e', max_tokens: 5, messages }],
    ['/api/chat', { model: 'e', messages, stream: false }], ['/v2/models/e/infer', { inputs: [] }], ['/invoke/e/x', {}]]) {
    const { key } = await makeKey(stoker, '--rpm', '1');
    await post(target, body, 200, bearer(key));
    const refused = await post(target, body, 429, bearer(key));
    assert.ok(Number(refused.headers['retry-after']) >= 1);
    const left = target === '/v1/messages' ? 'anthropic-ratelimit-requests-remaining' : 'x-ratelimit-remaining-requests';
    assert.equal(refused.headers[left], '0');
  }
}

/// What goes wrong while a model starts or runs, in each dialect.
async function fail({ post, get }, api) {
  const asked = [['/v1/chat/completions', (model) => ({ model, messages })], ['/v1/messages', (model) => ({ model, max_tokens: 100_000, messages })],
    ['/api/chat', (model) => ({ model, messages, stream: false })]];
  for (const [target, body] of asked) {
    await post(target, body('broken'), 503);
    const shape = { '/v1/messages': 'AnthropicError', '/api/chat': 'OllamaError' }[target] ?? 'Error';
    api.checkNamed(shape, (await post(target, body('crashes'), 502)).json);
    api.checkNamed(shape, (await post(target, body('late'), 504)).json);
  }
  await post('/v2/models/broken/infer', { inputs: [] }, 503);
  await post('/invoke/broken/x', {}, 503);
  await get('/v2/models/huge/ready', 503);
}

test('every parameter of a path is described, no part is left unused, and every schema is one', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const api = await ApiDocument.of(stoker);
  for (const [target, { parameters = [] }] of Object.entries(api.document.paths)) {
    const told = parameters.map(({ $ref }) => api.resolve($ref).value).filter((one) => one.in === 'path').map(({ name }) => name);
    assert.deepEqual(told, [...target.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name), target);
  }
  for (const name of Object.keys(api.document.components.schemas)) api.ajv.compile({ $ref: `api#/components/schemas/${name}` });
  const text = JSON.stringify(api.document);
  for (const [kind, parts] of Object.entries(api.document.components)) {
    if (kind === 'securitySchemes') continue;
    for (const name of Object.keys(parts)) assert.ok(text.includes(`"#/components/${kind}/${name}"`) || ['StreamReceipt', 'StreamProgress'].includes(name), `${kind}/${name} is used nowhere`);
  }
});

test('every operation answers as the document says', async (t) => {
  const stoker = await Stoker.start(t, {
    webhooks: { allow: ['127.0.0.0/8'] },
    devices: [{ id: 'cpu0', kind: 'cpu', memory: '8GiB' }],
    deployments: {
      e: echo({ tokens: 5 }, { aliases: ['org/owl'], autoscaling: once, pricing: { per_request: '$0.5' } }),
      slow: echo({ tokens: 100_000, token_delay: '5ms' }, { concurrency: 1, autoscaling: once }),
      cold: echo({ tokens: 2, load_time: '500ms' }, { autoscaling: once }),
      late: echo({ tokens: 100_000, token_delay: '5ms' }, { autoscaling: once, limits: { request_timeout: '1s' } }),
      crashes: echo({ faults: { crash_at: 'first_token' } }, { autoscaling: once }),
      broken: echo({ faults: { load_failed: 'model_missing' } }, { autoscaling: once }),
      ws: {
        runtime: 'command', command: ['/usr/bin/node', '{model}', '{port}'], autoscaling: once,
        model: path.join(repository, 'tests/contract/servers/websocket_server.mjs'),
      },
      huge: echo({}, { autoscaling: once, resources: { memory: '1TiB' } }),
    },
  });
  const api = await ApiDocument.of(stoker);
  const client = clientOf(stoker, api);
  await t.test('nobody and the wrong scope', () => refuseEverybody(stoker, api));
  await t.test('OpenAI, Anthropic, media, invoke', () => runModels(client, stoker, api));
  await t.test('Ollama', () => useOllama(client, api));
  await t.test('models, health, Open Inference', () => lookAround(client));
  await t.test('jobs', () => runJobs(client));
  await t.test('the same again, and what goes on as a job', () => askAgain(client, stoker));
  await t.test('webhooks', (inner) => hearOfJobs(inner, client, api));
  await t.test('limits', () => passLimits(client, stoker));
  await t.test('streams that break', () => resumeStreams(client, stoker, api));
  await t.test('failures', () => fail(client, api));
  await t.test('admin', () => administer(client, stoker, api));
  await t.test('keys', () => manageKeys(client));
  await t.test('reload', async () => {
    const config = JSON.parse(fs.readFileSync(stoker.configFile, 'utf8'));
    config.deployments.e.pricing = { per_request: '$0.25' };
    config.deployments.comes = echo();
    fs.writeFileSync(stoker.configFile, JSON.stringify(config));
    await client.post('/api/v1/reload', undefined, 200);
    fs.writeFileSync(stoker.configFile, '{ odd');
    await client.post('/api/v1/reload', undefined, 422);
  });
  await t.test('a WebSocket', async () => {
    const socket = new WebSocket(`${stoker.url.replace('http', 'ws')}/invoke/ws/`, { headers: stoker.headers });
    const head = await new Promise((resolve, reject) => { socket.on('upgrade', resolve); socket.on('error', reject); });
    api.checkAnswer('GET', '/invoke/ws/', { status: head.statusCode, headers: head.headers, text: '' });
    socket.terminate();
  });
  // Each operation gave what it is for, at least once.
  for (const { name, path, method } of api.operations) {
    const good = Object.keys(api.document.paths[path][method].responses).filter((status) => status < 300).map(Number);
    assert.ok(good.some((status) => api.seen.get(name)?.has(status)), `${name} was never seen to succeed`);
  }
});

test('every kind of order, and an instance that is suspended', async (t) => {
  const stoker = await Stoker.start(t, {
    devices: [{ id: 'cpu0', kind: 'cpu', memory: '8GiB', slots: 1 }], model_store: { host_memory: '1GiB' },
    deployments: {
      sleeps: echo({ tokens: 2, memory: '64MiB', load_time: '3s' }, { autoscaling: { ...once, scale_down_delay: '500ms', scale_to_zero_delay: '500ms' } }),
      busy: echo({ tokens: 100_000, token_delay: '5ms' }, { concurrency: 1, limits: { max_queued: 1 }, autoscaling: once }),
      waits: echo({}, { autoscaling: once }),
    } });
  const api = await ApiDocument.of(stoker);
  const { get, post } = clientOf(stoker, api);
  await post('/v1/chat/completions', { model: 'sleeps', messages });
  await until('it is suspended', async () => (await get('/api/v1/ps')).json.instances.some(({ state }) => state === 'suspended'), 15_000);
  assert.equal((await post('/v1/chat/completions', { model: 'sleeps', messages })).headers['x-stoker-start'], 'resumed');
  const { leave } = await stoker.stream('busy');
  const queued = stoker.send('busy');
  await until('one waits', async () => (await stoker.deployment('busy')).queued === 1);
  await post('/v1/chat/completions', { model: 'busy', messages }, 429);
  await post('/api/v1/warm/waits', undefined, 202);
  await until('it waits for room', async () => (await get('/api/v1/decisions')).json.decisions.some(({ decision }) => decision === 'wait'));
  leave();
  queued.leave();
  await post('/api/v1/stop/busy', undefined, 202);
  const kinds = async () => [...new Set((await get('/api/v1/decisions?limit=10000')).json.decisions.map(({ decision }) => decision))].sort();
  await until('each was ordered', async () => (await kinds()).join() === 'cancel,refuse,resume,start,stop,suspend,wait');
  await get('/api/v1/events?limit=10000');
});

test('what drains says so', async (t) => {
  const stoker = await Stoker.start(t, { drain_timeout: '30s', deployments: { e: echo({ tokens: 100_000, token_delay: '5ms' }, { autoscaling: once }) } });
  const api = await ApiDocument.of(stoker);
  const client = clientOf(stoker, api);
  const { res, leave } = await stoker.stream('e');
  stoker.signal('SIGTERM');
  await until('it drains', async () => (await request(`${stoker.url}/readyz`)).status === 503);
  for (const target of ['/readyz', '/v2/health/ready']) await client.get(target, 503);
  for (const [target, body] of [['/v1/chat/completions', { model: 'e', messages }], ['/v1/messages', { model: 'e', messages }], ['/api/chat', { model: 'e', messages, stream: false }],
    ['/v2/models/e/infer', { inputs: [] }], ['/v2/e/run', { input: { prompt: 'x' } }], ['/api/v1/warm/e', undefined], ['/api/v1/reload', undefined]]) {
    assert.ok(Number((await client.post(target, body, 503)).headers['retry-after']) >= 1, target);
  }
  for (const [target, body] of [['/v1/chat/completions', { model: 'e', messages }], ['/v1/messages', { model: 'e', messages }], ['/v2/models/e/infer', { inputs: [] }]]) {
    await client.post(target, body, 503, { prefer: 'wait=1' });
  }
  await client.get('/api/v1/ps');
  leave();
  await readAll(res).catch(() => {});
});

test('the Open Inference Protocol on the ONNX worker', { skip: hasEngines ? !onnxModel && 'STOKER_TEST_ONNX_MODEL is not set' : 'built without engines' }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { voice: { runtime: 'onnx', model: onnxModel } } });
  const api = await ApiDocument.of(stoker);
  const client = clientOf(stoker, api);
  const { json } = await client.get('/v2/models/voice');
  assert.equal(json.inputs.length, 3);
  const inputs = [{ name: 'input', datatype: 'FP32', shape: [1, 512], data: Array(512).fill(0) },
    { name: 'state', datatype: 'FP32', shape: [2, 1, 128], data: Array(256).fill(0) }, { name: 'sr', datatype: 'INT64', shape: [], data: [16_000] }];
  assert.ok((await client.post('/v2/models/voice/infer', { inputs })).json.outputs.length > 0);
  await client.post('/v1/chat/completions', { model: 'voice', messages }, 404);
});

test('with `auth: none` what comes from elsewhere is refused as the document says', async (t) => {
  const stoker = await Stoker.start(t, { auth: 'none', deployments: { e: echo({}, { autoscaling: once }) } });
  const api = await ApiDocument.of(stoker);
  for (const target of ['/healthz', '/openapi.json', '/v1/models', '/api/tags', '/v2', '/api/v1/ps']) {
    const answer = await request(stoker.url + target, { headers: { host: 'elsewhere.example' } });
    assert.equal(answer.status, 403, target);
    api.checkAnswer('GET', target, answer);
  }
});
