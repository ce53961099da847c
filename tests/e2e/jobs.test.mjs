// Jobs in RunPod's shape, with its own unmodified client: they wait, run once, survive a kill -9,
// and are nobody else's (DESIGN.md 6).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import runpodSdk from 'runpod-sdk';
import { Stoker, cli, echo, request, until } from './lib/stoker.mjs';

const once = { max_instances: 1 };
const endpointOf = (stoker, name, key = stoker.key) => runpodSdk(key, { baseUrl: `${stoker.url}/v2` }).endpoint(name);
const post = (stoker, path, body, headers = {}) => request(`${stoker.url}/v2/${path}`, { method: 'POST', headers: { ...stoker.headers, ...headers }, body });
const get = (stoker, path, headers = {}) => request(`${stoker.url}/v2/${path}`, { headers: { ...stoker.headers, ...headers } });
const newKey = async (stoker, ...args) =>
  JSON.parse((await cli(['keys', 'create', ...args, '--json', '--config', stoker.configFile, '--url', stoker.url])).stdout);
const ended = (stoker, name, id) => until(`${id} has ended`, async () => {
  const { json } = await get(stoker, `${name}/status/${id}`);
  return ['COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT'].includes(json.status) ? json : undefined;
});

test('runpod-sdk: run, status, runSync, stream, cancel, health, purge', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 100_000, token_delay: '5ms' }, { concurrency: 1, autoscaling: once }) } });
  const endpoint = endpointOf(stoker, 'e');
  const { id, status } = await endpoint.run({ input: { prompt: 'one two three', max_tokens: 6 } });
  assert.equal(status, 'IN_QUEUE');
  const done = await until('it has ended', async () => {
    const now = await endpoint.status(id);
    return now.completed ? now : undefined;
  });
  assert.equal(done.succeeded, true);
  assert.equal(done.output.choices[0].text.trim().split(' ').length, 6);
  assert.ok(done.delayTime >= 0 && done.executionTime >= 0);
  // A job is a request like any other: it has its row, with its tokens.
  const row = await stoker.row(done.requestId);
  assert.equal(row.outcome, 'completed');
  assert.equal(row.usage.output_tokens, 6);

  const sync = await endpoint.runSync({ input: { messages: [{ role: 'user', content: 'hi' }], max_tokens: 3 } });
  assert.equal(sync.succeeded, true);
  assert.equal(sync.output.usage.completion_tokens, 3);
  const routed = await endpoint.runSync({ input: { openai_route: '/v1/embeddings', openai_input: { input: 'x' } } });
  assert.equal(routed.output.object, 'list');

  const streamed = await endpoint.run({ input: { prompt: 'a b', max_tokens: 40, stream: true } });
  const pieces = [];
  for await (const piece of endpoint.stream(streamed.id)) pieces.push(piece.output.choices[0]?.text ?? '');
  assert.equal(pieces.join('').trim().split(' ').length, 40);
  assert.equal((await endpoint.status(streamed.id)).output.length, pieces.length);

  const long = await endpoint.run({ input: { prompt: 'x', max_tokens: 100_000 } });
  const waiting = await endpoint.run({ input: { prompt: 'x', max_tokens: 1 } });
  await until('it runs', async () => (await endpoint.status(long.id)).status === 'IN_PROGRESS');
  const queued = await endpoint.status(waiting.id);
  assert.equal(queued.status, 'IN_QUEUE');
  assert.ok(queued.queuePosition >= 1);
  const health = await endpoint.health();
  assert.equal(health.jobs.inProgress, 1);
  assert.equal(health.jobs.inQueue, 1);
  assert.equal(health.workers.running, 1);
  assert.deepEqual(await endpoint.cancel(waiting.id), { id: waiting.id, status: 'CANCELLED' });
  assert.deepEqual(await endpoint.cancel(long.id), { id: long.id, status: 'CANCELLED' });
  await until('the slot is free', async () => (await stoker.deployment('e')).running === 0);
  assert.equal((await endpoint.health()).jobs.completed, 4);
});

test('runpod-sdk: unauthorised and rate-limited', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({}, { autoscaling: once }) } });
  await assert.rejects(endpointOf(stoker, 'e', 'sk-wrong').run({ input: { prompt: 'x' } }), (error) => error.response?.status === 401);
  const limited = await newKey(stoker, '--rpm', '1');
  const endpoint = endpointOf(stoker, 'e', limited.key);
  assert.equal((await endpoint.runSync({ input: { prompt: 'x', max_tokens: 1 } })).succeeded, true);
  // The second one waits for its minute; it is not lost and not refused.
  const second = await endpoint.run({ input: { prompt: 'x' }, policy: { ttl: 3_000 } });
  await new Promise((resolve) => { setTimeout(resolve, 500); });
  assert.equal((await endpoint.status(second.id)).status, 'IN_QUEUE');
  await endpoint.cancel(second.id);
});

test('what is asked wrongly is told at once; ttl and executionTimeout end a job; failed ones are run again', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 100_000, token_delay: '5ms' }, { concurrency: 1, autoscaling: once }) } });
  for (const [body, hint] of [[{}, /input/], [{ input: 'x' }, /input/], [{ input: { a: 1 } }, /messages/], [{ input: { prompt: 'x' }, policy: { ttl: -1 } }, /ttl/],
    [{ input: { openai_route: '/api/v1/keys', openai_input: {} } }, /openai_route/]]) {
    const refused = await post(stoker, 'e/run', body);
    assert.equal(refused.status, 400, JSON.stringify(body));
    assert.match(refused.json.error, hint);
  }
  assert.equal((await post(stoker, 'none/run', { input: { prompt: 'x' } })).status, 404);
  const slow = await post(stoker, 'e/run', { input: { prompt: 'x', max_tokens: 100_000 }, policy: { executionTimeout: 3_000 } });
  const impatient = await post(stoker, 'e/run', { input: { prompt: 'x', max_tokens: 1 }, policy: { ttl: 2_000 } });
  assert.equal((await ended(stoker, 'e', slow.json.id)).status, 'TIMED_OUT');
  const late = await ended(stoker, 'e', impatient.json.id);
  assert.equal(late.status, 'TIMED_OUT', late.error);
  assert.match(late.error, /ttl/);
  const again = await post(stoker, `e/retry/${impatient.json.id}`, {});
  assert.equal(again.json.status, 'IN_QUEUE');
  const second = await ended(stoker, 'e', impatient.json.id);
  assert.equal(second.status, 'COMPLETED', second.error);
  assert.equal(second.retries, 1);
  assert.equal((await post(stoker, `e/retry/${impatient.json.id}`, {})).status, 409);
});

test('jobs run in order, those of low priority last; purge takes what waits', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 100_000, token_delay: '2ms' }, { concurrency: 1, autoscaling: { ...once, scale_up_threshold: '1 requests queued' } }) } });
  const ids = [];
  for (let i = 0; i < 8; ++i) {
    const policy = { lowPriority: i === 2 };
    ids.push((await post(stoker, 'e/run', { input: { prompt: `${i}`, max_tokens: 30 }, policy })).json.id);
  }
  const rows = await Promise.all(ids.map((id) => ended(stoker, 'e', id)));
  const order = rows.map((row, i) => ({ i, request: row.requestId })).sort((a, b) => (a.request < b.request ? -1 : 1)).map(({ i }) => i);
  assert.deepEqual(order, [0, 1, 3, 4, 5, 6, 7, 2]);
  const blocker = (await post(stoker, 'e/run', { input: { prompt: 'x' } })).json.id;
  await until('it runs', async () => (await get(stoker, `e/status/${blocker}`)).json.status === 'IN_PROGRESS');
  const waiting = [];
  for (let i = 0; i < 5; ++i) waiting.push((await post(stoker, 'e/run', { input: { prompt: 'x' } })).json.id);
  const purged = (await post(stoker, 'e/purge-queue', {})).json;
  assert.equal(purged.status, 'completed');
  assert.equal(purged.removed, 5, 'those too that the gateway has already');
  await post(stoker, `e/cancel/${blocker}`, {});
  const listed = (await get(stoker, 'e/requests')).json.requests;
  assert.equal(listed.length, 14);
});

test('an Idempotency-Key makes one job of many submissions, also after a restart', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({}, { autoscaling: once }) } });
  const submit = (prompt, key) => post(stoker, 'e/run', { input: { prompt } }, { 'idempotency-key': key });
  const answers = await Promise.all(Array.from({ length: 20 }, () => submit('x', 'a')));
  assert.equal(new Set(answers.map((answer) => answer.json.id)).size, 1);
  assert.equal((await submit('y', 'a')).status, 422);
  stoker.signal('SIGKILL');
  await stoker.exited;
  await stoker.launch();
  assert.equal((await submit('x', 'a')).json.id, answers[0].json.id);
  assert.notEqual((await submit('x', 'b')).json.id, answers[0].json.id);
  assert.equal((await get(stoker, 'e/requests')).json.requests.length, 2);
});

test('kill -9 loses no job and runs none twice', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 40, token_delay: '5ms' }, { concurrency: 2, autoscaling: once }) } });
  const ids = [];
  for (let life = 0; life < 4; ++life) {
    const submitted = await Promise.all(Array.from({ length: 8 }, () => post(stoker, 'e/run', { input: { prompt: 'x' } })));
    for (const { json } of submitted) ids.push(json.id);
    await until('some run', async () => (await get(stoker, 'e/health')).json.jobs.inProgress > 0);
    stoker.signal('SIGKILL');
    await stoker.exited;
    await stoker.launch();
  }
  const jobs = [];
  for (const id of ids) jobs.push(await ended(stoker, 'e', id));
  const completed = jobs.filter((job) => job.status === 'COMPLETED');
  const failed = jobs.filter((job) => job.status === 'FAILED');
  assert.equal(completed.length + failed.length, 32);
  assert.ok(failed.length >= 4 && failed.length <= 8, `${failed.length} had a worker when the server died`);
  for (const job of failed) assert.match(job.error, /may have run/);
  // Each row that a worker had is of another job: no job was run twice.
  const ran = (await stoker.ledger()).filter((row) => row.start !== 'none' || row.reason === 'interrupted_running');
  assert.equal(ran.length, 32);
});

test('another tenant\'s job does not exist', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({}, { autoscaling: once }) } });
  const a = await newKey(stoker, '--tenant', 'a');
  const b = await newKey(stoker, '--tenant', 'b');
  const as = (key) => ({ authorization: `Bearer ${key.key}` });
  const { id } = (await post(stoker, 'e/run', { input: { prompt: 'x' } }, as(a))).json;
  for (const [method, path] of [['GET', `status/${id}`], ['GET', `stream/${id}`], ['GET', `status-sync/${id}`], ['POST', `cancel/${id}`], ['POST', `retry/${id}`]]) {
    const answer = await request(`${stoker.url}/v2/e/${path}`, { method, headers: as(b), body: method === 'POST' ? {} : undefined });
    assert.equal(answer.status, 404, path);
  }
  assert.equal((await get(stoker, 'e/requests', as(b))).json.requests.length, 0);
  assert.equal((await get(stoker, `e/status/${id}`, as(a))).status, 200);
});

test('the configuration says how many jobs may be open and how long ended ones stay', async (t) => {
  const stoker = await Stoker.start(t, { jobs: { max_open: '2 jobs', retention: '1s' }, deployments: { e: echo({ tokens: 100_000, token_delay: '5ms' }, { concurrency: 1, autoscaling: once }) } });
  const [first, second] = [await post(stoker, 'e/run', { input: { prompt: 'x' } }), await post(stoker, 'e/run', { input: { prompt: 'x' } })];
  const third = await post(stoker, 'e/run', { input: { prompt: 'x' } });
  assert.equal(third.status, 429);
  assert.match(third.json.error, /2 jobs of 'e' are waiting/);
  await post(stoker, `e/cancel/${first.json.id}`, {});
  const fourth = await post(stoker, 'e/run', { input: { prompt: 'x' } });
  assert.equal(fourth.status, 200);
  stoker.signal('SIGKILL');
  await stoker.exited;
  await new Promise((resolve) => { setTimeout(resolve, 1_100); });  // the retention
  await stoker.launch();
  await until('it is forgotten', async () => (await get(stoker, `e/status/${first.json.id}`)).status === 404);
  for (const { json } of [second, fourth]) assert.equal((await post(stoker, `e/cancel/${json.id}`, {})).status, 200);
});
