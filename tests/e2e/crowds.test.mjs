// Many clients at once, most of them of the wrong kind: nobody gets another's answer (C7 in RELIABILITY.md), who comes after
// them is served (G5), who does not read holds up himself alone (G9), a full queue refuses quickly and loses nothing (O5), and
// names without end leave nothing behind (R7).
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
import { ownMemory, residentBytes, threadCount, workerOf } from './lib/processes.mjs';
import { Stoker, echo, hasEngines, llama, longEnough, patience, quarantine, readAll, shadow, sized, sseEvents, until } from './lib/stoker.mjs';

const once = { min_instances: 1, max_instances: 1 };
const asleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
/// `count` calls of `one(i)`, so many at a time.
const eachOf = (count, atATime, one) => {
  let next = 0;
  return Promise.all(Array.from({ length: atATime }, async () => { while (next < count) await one(next++); }));
};
/// Memory that is the process's own, in bytes: what it maps of files, the journal's too, is the kernel's cache.
const idle = (stoker) => until('nothing runs or waits', async () => (await stoker.ps()).deployments.every((d) => d.queued === 0 && d.running === 0));

// A seeded generator, so that a failure can be had again (mulberry32).
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let z = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

test('clients that leave at random: every answer is its own (C7)', { timeout: longEnough }, async (t) => {
  const count = sized({ quick: 2_000, full: 10_000 });
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 12, token_delay: '1ms' }, { concurrency: 16, autoscaling: once, limits: { max_queued: 1000 } }) } });
  const instance = await stoker.ready('e');
  const seed = Number(process.env.STOKER_TEST_SEED ?? 20_261_128);
  const random = generator(seed);
  const agent = new http.Agent({ keepAlive: true });  // those who stay share connections to the server, too
  t.after(() => agent.destroy());
  const mixed = [];
  const seen = { whole: 0, left: 0, words: 0 };
  await eachOf(count, 32, (i) => new Promise((resolve) => {
    const nonce = `n${seed}x${i}x`;
    const stream = random() < 0.5;
    const leaveAfter = random() < 0.4 ? random() * 60 : undefined;
    const payload = JSON.stringify({ model: 'e', stream, messages: [{ role: 'user', content: `${nonce} ${nonce} ${nonce}` }] });
    let text = '';
    let timer;
    const req = http.request(`${stoker.url}/v1/chat/completions`, { method: 'POST', agent, headers: { ...stoker.headers, 'content-type': 'application/json', 'content-length': payload.length } });
    req.on('response', (res) => {
      res.setEncoding('utf8');
      res.on('data', (part) => { text += part; });
      res.on('end', () => { if (res.complete) { ++seen.whole; if (res.statusCode !== 200) mixed.push(`${nonce}: ${res.statusCode} ${text}`); } });
      res.on('error', () => {});
    });
    req.on('error', () => {});
    req.on('close', () => {
      clearTimeout(timer);
      for (const [word] of text.matchAll(/n\d+x\d+x/g)) { ++seen.words; if (word !== nonce) mixed.push(`${nonce} was given ${word}`); }
      resolve();
    });
    if (leaveAfter !== undefined) timer = setTimeout(() => { ++seen.left; req.destroy(); }, leaveAfter);
    req.end(payload);
  }));
  t.diagnostic(`seed ${seed}: ${count} requests, ${seen.whole} whole, ${seen.left} left, ${seen.words} words read`);
  assert.deepEqual(mixed, []);
  assert.ok(seen.whole > count * 0.4 && seen.left > count * 0.1 && seen.words > seen.whole * 10);
  await stoker.activeBecomes(instance, 0);
  await idle(stoker);
});

const waves = [
  { name: 'echo', deployment: echo({ tokens: 10, token_delay: '20ms' }, { concurrency: 64, limits: { max_queued: 2000 }, autoscaling: once }), body: {}, clients: 1000 },
  { name: 'llama.cpp', deployment: llama({ batch: 8, ubatch: 8 }, { concurrency: 8, limits: { max_queued: 2000 }, autoscaling: once }), body: { max_tokens: 16, ignore_eos: true },
    clients: sized({ quick: 200, full: 1000 }), skip: !hasEngines && 'built without engines' },
];
for (const { name, deployment, body, clients, skip } of waves) {
  test(`${name}: ${clients} clients that give up too early, then ${clients} that do not: these are all served (G5)`, { skip, timeout: longEnough }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { e: deployment } });
    const instance = await stoker.ready('e');
    // They wait a fraction of what an answer takes, many of them only in the queue.
    await eachOf(clients, 100, (i) => new Promise((resolve) => {
      const { req, leave } = stoker.send('e', { ...body, stream: i % 2 === 0 });
      req.on('response', (res) => res.on('error', () => {}).resume());
      const timer = setTimeout(leave, 50 + i % 100);
      req.on('close', () => { clearTimeout(timer); resolve(); });
    }));
    const answers = [];
    await eachOf(clients, 64, async () => { answers.push(await stoker.chat('e', body)); });
    const refused = answers.filter(({ status }) => status !== 200);
    assert.deepEqual(refused.map(({ status, text }) => `${status} ${text}`), []);
    await stoker.activeBecomes(instance, 0);
    await idle(stoker);
    const rows = await stoker.ledger();
    assert.equal(new Set(rows.map((row) => row.request)).size, rows.length);
    const cancelled = rows.filter((row) => row.outcome === 'cancelled').length;
    t.diagnostic(`${name}: ${cancelled} of the first ${clients} are recorded as cancelled`);
    assert.ok(cancelled > clients / 10, 'they left what had been admitted');
    assert.deepEqual((await stoker.instances('e')).map((one) => one.instance), [instance.instance], 'the worker is the same');
  });
}

test('streams that nobody reads hold 256 KiB each and no other back (G9)', { timeout: longEnough }, async (t) => {
  const stalled = sized({ quick: 50, full: 200 });
  const stoker = await Stoker.start(t, { deployments: {
    flood: echo({ tokens: 10_000_000 }, { concurrency: stalled + 1, autoscaling: once }),
    e: echo({ tokens: 300, token_delay: '5ms' }, { autoscaling: once }),
  } });
  const [flood] = [await stoker.ready('flood'), await stoker.ready('e')];
  const { pid } = stoker.process;
  const floodPid = workerOf(stoker, flood.instance).pid;
  const rate = async () => {
    const { res } = await stoker.stream('e');
    const begun = performance.now();
    const events = sseEvents(await readAll(res));
    assert.equal(events.at(-1).data, '[DONE]');
    return (events.length - 1) / (performance.now() - begun) * 1000;
  };
  const alone = await rate();
  const before = { server: ownMemory(pid), worker: ownMemory(floodPid) };
  const { hostname, port } = new URL(stoker.url);
  const payload = JSON.stringify({ model: 'flood', stream: true, messages: [{ role: 'user', content: 'x'.repeat(1000) }] });
  const sockets = Array.from({ length: stalled }, () => {
    const socket = net.connect(Number(port), hostname);
    socket.on('error', () => {});
    socket.pause();
    socket.write(`POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${stoker.key}\r\nContent-Type: application/json\r\nContent-Length: ${payload.length}\r\n\r\n${payload}`);
    return socket;
  });
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  await stoker.activeBecomes(flood, stalled, 30_000);
  // Every generation waits for its reader: no more tokens come.
  let tokens;
  await until('all are held up', async () => {
    const now = (await stoker.stats(flood)).tokens;
    const still = now === tokens;
    tokens = now;
    if (!still) await asleep(200);
    return still;
  }, 20_000);
  const beside = await rate();
  const grown = { server: ownMemory(pid) - before.server, worker: ownMemory(floodPid) - before.worker };
  t.diagnostic(`${alone.toFixed(0)} tokens a second alone, ${beside.toFixed(0)} beside ${stalled} stalled streams; the server grew by ${(grown.server / stalled / 1024).toFixed(0)} KiB for each, their worker by ${(grown.worker / stalled / 1024).toFixed(0)}`);
  assert.ok(beside >= alone * (1 - 0.1 * patience), `${beside} tokens a second instead of ${alone}`);
  assert.ok(grown.server <= stalled * shadow * (256 << 10), `${grown.server} bytes`);
  assert.equal((await stoker.stats(flood)).active, stalled, 'none of them was cut while it was looked at');
  sockets.forEach((socket) => socket.destroy());
  await stoker.activeBecomes(flood, 0);
});

/// Requests at even distances, `rate` a second for `seconds`, whatever becomes of those before. Gives who was answered, how soon the
/// others were told (ms), what else came, and the server's memory over time.
async function offer(stoker, seconds, rate) {
  const seen = { answered: new Set(), told: [], wrong: [], memory: [] };
  const sampler = setInterval(() => seen.memory.push(ownMemory(stoker.process.pid)), 100);
  const ask = async () => {
    const asked = performance.now();
    const answer = await stoker.chat('e');
    if (answer.status === 200) seen.answered.add(answer.headers['x-request-id']);
    else if ([429, 503].includes(answer.status) && Number(answer.headers['retry-after']) >= 1) seen.told.push(performance.now() - asked);
    else seen.wrong.push(`${answer.status} ${answer.text}`);
  };
  const begun = performance.now();
  const running = new Set();
  for (let sent = 0; sent < seconds * rate;) {
    for (const due = (performance.now() - begun) / 1000 * rate; sent < Math.min(due, seconds * rate); ++sent) {
      const one = ask().catch((error) => seen.wrong.push(error.message)).finally(() => running.delete(one));
      running.add(one);
    }
    await asleep(1);
  }
  await Promise.all(running);
  clearInterval(sampler);
  seen.seconds = (performance.now() - begun) / 1000;
  seen.told.sort((x, y) => x - y);
  return seen;
}

test('ten times what the workers can do: refused within 50 ms, with the time to come back; memory is flat, nothing is lost (O5)', { timeout: longEnough }, async (t) => {
  const seconds = sized({ quick: 6, full: 600 });
  const [slots, answer_ms] = [4, 100];
  const capacity = slots * 1000 / answer_ms;
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 1, prefill_delay: `${answer_ms}ms` }, { concurrency: slots, limits: { max_queued: 20 }, autoscaling: once }) } });
  await stoker.ready('e');
  await stoker.chat('e');
  const resident = residentBytes(stoker.process.pid);
  let completed = 1;
  let late = Infinity;
  // A client that is itself kept from its CPU makes the server look slow: it may measure three times.
  for (let round = 0; round < 3 && late > 50 * patience; ++round) {
    const seen = await offer(stoker, seconds, capacity * 10);
    late = seen.told[Math.ceil(seen.told.length * 0.99) - 1];
    const warm = seen.memory.slice(Math.floor(seen.memory.length / 4));
    const spread = (Math.max(...warm) - Math.min(...warm)) / 2 / resident;
    t.diagnostic(`${seen.answered.size} answered in ${seen.seconds.toFixed(1)} s (${(seen.answered.size / seen.seconds / capacity * 100).toFixed(0)} % of capacity), ${seen.told.length} refused, p99 ${late.toFixed(1)} ms; memory ±${(spread * 100).toFixed(1)} %`);
    assert.deepEqual(seen.wrong, []);
    assert.ok(seen.told.length > seen.answered.size * 5, 'most were too many');
    if (shadow === 1) assert.ok(spread <= 0.05, `±${spread * 100} %`);
    completed += seen.answered.size;
    await idle(stoker);
    const [line] = (await stoker.call('/api/v1/usage?by=deployment')).json.usage;
    assert.equal(line.completed, completed, 'who was accepted was answered, and is on record');
  }
  assert.ok(late <= 50 * patience, `${late} ms`);
});

test('names without end: unknown ones leave nothing, known ones give all back (R7)', { timeout: longEnough }, async (t) => {
  const names = 10_000;
  const deployments = sized({ quick: 40, full: 1_200 });
  const one = echo({ tokens: 1, memory: '1MiB' }, { autoscaling: { max_instances: 1, scale_to_zero_delay: '100ms' } });
  const stoker = await Stoker.start(t, {
    devices: [{ id: 'cpu0', kind: 'cpu', memory: '8GiB', slots: 4 }],
    deployments: Object.fromEntries(Array.from({ length: deployments }, (_, i) => [`d${i}`, one])),
  });
  const { pid } = stoker.process;
  const agent = new http.Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const status = (model) => new Promise((resolve, reject) => {
    const payload = JSON.stringify({ model, messages: [{ role: 'user', content: 'x' }] });
    const req = http.request(`${stoker.url}/v1/chat/completions`, { method: 'POST', agent, headers: { ...stoker.headers, 'content-type': 'application/json', 'content-length': payload.length } }, (res) => {
      res.resume();
      res.on('end', () => resolve(res.statusCode));
    });
    req.on('error', reject);
    req.end(payload);
  });
  const metrics = async () => (await stoker.call('/metrics')).text;
  await eachOf(500, 8, async (i) => { assert.equal(await status(`warm-up-${i}`), 404); });
  const { length: lines } = (await metrics()).split('\n');
  const before = { memory: ownMemory(pid), threads: threadCount(pid), lines };
  await eachOf(names, 16, async (i) => { assert.equal(await status(`unknown-${i}`), 404); });
  const after = await metrics();
  assert.equal(after.split('\n').length, before.lines, 'no series was made');
  assert.doesNotMatch(after, /unknown-/);
  assert.equal(threadCount(pid), before.threads);
  assert.equal((await stoker.ledger()).length, 0, 'none was admitted');
  const grown = ownMemory(pid) - before.memory;
  assert.ok(grown < quarantine + (1 << 20), `${names} unknown names: ${grown} bytes`);

  // Each known one is started, asked once, and gone again.
  await eachOf(deployments, 16, async (i) => { assert.equal(await status(`d${i}`), 200); });
  await until('all are gone and all is given back', async () => {
    const { instances, devices } = await stoker.ps();
    return instances.length === 0 && devices[0].reserved_bytes === 0;
  });
  const families = new Map();
  for (const [, family] of (await metrics()).matchAll(/^(stoker_\w+)\{[^}]*deployment=/gm)) families.set(family, (families.get(family) ?? 0) + 1);
  for (const [family, series] of families) assert.ok(series <= 1001 * 20, `${family} has ${series} series`);  // 20: a histogram's lines
  const kept = ownMemory(pid) - before.memory;
  t.diagnostic(`${names} unknown names: ${(grown / 1024).toFixed(0)} KiB; ${deployments} deployments that came and went: ${(kept / deployments / 1024).toFixed(0)} KiB each, their records and series`);
  assert.ok(kept < quarantine + deployments * (64 << 10), `${kept} bytes are kept`);
});
