// Cold, warm, held, queued, several instances, several models on one device.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stoker, deviceForOne, echo, hasEngines, llama, readAll, sseEvents, until } from './lib/stoker.mjs';

const timing = (header) => Object.fromEntries(header.split(', ').map((part) => {
  const [name, dur] = part.split(';dur=');
  return [name, Number(dur)];
}));

test('a cold and a warm request, with receipts whose phases add up', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ load_time: '150ms', tokens: 4 }) } });
  for (const kind of ['cold', 'warm']) {
    const answer = await stoker.chat('e');
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['x-stoker-start'], kind);
    assert.match(answer.headers['x-request-id'], /^req-[0-9a-f]{16}$/);
    const ms = timing(answer.headers['server-timing']);
    const { total, ...phases } = ms;
    const sum = Object.values(phases).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum - total) <= total * 0.02, `${sum} is not ${total}`);
    assert.equal(ms.load > 100, kind === 'cold');
    const row = await stoker.row(answer.headers['x-request-id']);
    assert.equal(row.start, kind);
    assert.equal(row.outcome, 'completed');
    assert.equal(row.usage.output_tokens, 4);
    assert.deepEqual(Object.keys(row.phases_ms), ['queue', 'allocate', 'start', 'load', 'warmup', 'ttft', 'generate', 'total']);
  }
});

test('a stream passes through and carries its receipt before the terminal event', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 5, token_delay: '5ms' }) } });
  const { res } = await stoker.stream('e');
  assert.equal(res.statusCode, 200);
  assert.match(res.headers['content-type'], /^text\/event-stream/);
  const events = sseEvents(await readAll(res));
  assert.equal(events.at(-1).data, '[DONE]');
  assert.match(events.at(-2).comment, /^stoker \{/);
  const receipt = JSON.parse(events.at(-2).comment.slice('stoker '.length));
  assert.equal(receipt.usage.output_tokens, 5);
  assert.ok(!JSON.stringify(events).includes('stoker-usage'), 'the worker\'s own comment must not reach the client');
  assert.ok(!events.some((e) => e.data?.includes('"usage":{')), 'a client that did not ask sees no usage event');
});

test('50 first requests to a cold model start exactly one instance when max_instances is 1', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ load_time: '200ms', tokens: 2 }, { concurrency: 4, autoscaling: { max_instances: 1 } }) } });
  const answers = await Promise.all(Array.from({ length: 50 }, () => stoker.chat('e')));
  assert.deepEqual(answers.map((a) => a.status), Array(50).fill(200));
  const started = (await stoker.events()).filter((e) => e.event === 'instance_starting');
  assert.equal(started.length, 1);
});

test('50 first requests with max N start min(N, the formula) instances', async (t) => {
  // concurrency 1, threshold 1, target 100 %: one instance a request, so the maximum decides.
  const many = { concurrency: 1, autoscaling: { max_instances: 6, scale_up_threshold: '1 requests queued', target_utilization: '100%' } };
  // concurrency 4, threshold 10, 70 %: 4.14 gives 1, then +4 each time the backlog reaches 10 -> 13.
  const formula = { concurrency: 4, autoscaling: { max_instances: 40, scale_up_threshold: '10 requests queued', target_utilization: '70%' } };
  const stoker = await Stoker.start(t, { deployments: { many: echo({ load_time: '1500ms' }, many), formula: echo({ load_time: '1500ms' }, formula) } });
  for (const [name, want] of [['many', 6], ['formula', 13]]) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => stoker.chat(name)));
    assert.deepEqual(answers.map((a) => a.status), Array(50).fill(200));
    const started = (await stoker.events()).filter((e) => e.event === 'instance_starting' && e.deployment === name);
    assert.equal(started.length, want, name);
  }
});

test('two models that do not fit together both answer in turn; a busy one is never evicted', async (t) => {
  const stoker = await Stoker.start(t, {
    devices: [deviceForOne()],
    deployments: {
      a: echo({ memory: '110MiB', tokens: 3 }),
      b: echo({ memory: '110MiB', tokens: 3 }),
      slow: echo({ memory: '110MiB', tokens: 40, token_delay: '25ms' }),
    },
  });
  for (const name of ['a', 'b', 'a', 'b']) {
    const answer = await stoker.chat(name);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['x-stoker-start'], 'cold');
  }
  const busy = await stoker.stream('slow');
  const text = readAll(busy.res);
  await until('slow runs', async () => (await stoker.deployment('slow')).running === 1);
  const waiting = stoker.chat('a');  // has to wait until slow is idle
  assert.equal(sseEvents(await text).at(-1).data, '[DONE]');
  assert.equal((await waiting).status, 200);
  const events = await stoker.events();
  const stopped = events.findIndex((e) => e.event === 'instance_stopping' && e.deployment === 'slow');
  assert.equal(events[stopped].reason, 'make_room');
});

test('idle instances go after scale_down_delay, the last one after scale_to_zero_delay, the minimum stays', async (t) => {
  const stoker = await Stoker.start(t, {
    deployments: {
      e: echo({ load_time: '300ms', token_delay: '50ms' }, { concurrency: 1, autoscaling: { max_instances: 2, scale_up_threshold: '1 requests queued', target_utilization: '100%', scale_down_delay: '300ms', scale_to_zero_delay: '1200ms' } }),
      kept: echo({}, { autoscaling: { min_instances: 1, max_instances: 1, scale_down_delay: '100ms' } }),
    },
  });
  await Promise.all([stoker.chat('e'), stoker.chat('e')]);
  assert.equal((await stoker.instances('e')).length, 2);
  await until('none is left', async () => (await stoker.instances('e')).length === 0);
  // By the server's own clock: never before its time, however busy the machine is.
  const stops = (await stoker.events()).filter((e) => e.event === 'instance_stopping' && e.deployment === 'e');
  const rows = await stoker.ledger('&deployment=e');
  const idled = stops.map((stop) => Date.parse(stop.at) - Date.parse(rows.find((row) => row.instance === stop.instance).ended_at));
  assert.ok(idled[0] >= 300, `the first of two idled for ${idled[0]} ms`);
  assert.ok(idled[1] >= 1200, `the last one idled for ${idled[1]} ms`);
  assert.equal((await stoker.deployment('kept')).ready_instances, 1);
});

test('a real chat model answers unary and streamed, cold and warm', { skip: !hasEngines && 'built without engines' }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { chat: llama() } });
  const cold = await stoker.chat('chat', { temperature: 0, max_tokens: 40 });
  assert.equal(cold.status, 200);
  assert.equal(cold.headers['x-stoker-start'], 'cold');
  assert.ok(cold.json.choices[0].message.content.length > 20);
  const row = await stoker.row(cold.headers['x-request-id']);
  assert.equal(row.usage.input_tokens, cold.json.usage.prompt_tokens);
  assert.equal(row.usage.output_tokens, cold.json.usage.completion_tokens);
  const { res } = await stoker.stream('chat', { temperature: 0, max_tokens: 40 });
  const events = sseEvents(await readAll(res));
  const text = events.filter((e) => e.data && e.data !== '[DONE]').map((e) => JSON.parse(e.data).choices[0]?.delta?.content ?? '').join('');
  assert.equal(text, cold.json.choices[0].message.content);
});
