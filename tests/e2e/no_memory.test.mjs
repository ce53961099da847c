// No memory (R5 in RELIABILITY.md). The rule: an allocation that fails ends the server at once, unless a library below turns it
// into an error; no half of a state can go on, and the next start finds every answer that was given. So the test of it is that
// of a crash, at the N-th allocation for many N.
//
//   STOKER_TEST_SEED=N   other numbers
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { gone, workersBelow } from './lib/processes.mjs';
import { Stoker, bin, echo, longEnough, readAll, sized, until } from './lib/stoker.mjs';

const library = path.join(bin, 'fail_nth_malloc.so');
const kept = { autoscaling: { min_instances: 1, max_instances: 1 } };

/// Numbers from 1 to `most`, small ones as often as large ones (mulberry32).
function numbers(seed, count, most) {
  return Array.from({ length: count }, () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let z = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return Math.floor(most ** (((z ^ (z >>> 14)) >>> 0) / 2 ** 32));
  });
}

/// A life in which one allocation fails while all kinds of clients ask. Gives how it ended, or that it did not.
async function lifeWithout(stoker, number, answered) {
  await stoker.launch({ LD_PRELOAD: library, STOKER_FAIL_MALLOC: String(number) }, ['prlimit', '--core=0']);
  await stoker.ready('e');
  const workers = workersBelow(stoker.process.pid);
  let over = false;
  stoker.exited.then(() => { over = true; });
  let after = 0;
  const failed = () => stoker.log.includes('fail_nth_malloc: failed one');
  const ask = async (one) => {
    while (!over && after < 100) {
      const answer = await one().catch(() => undefined);
      if (answer !== undefined && failed()) ++after;
    }
  };
  const chat = async (options, headers) => {
    const answer = await stoker.chat('e', options, headers);
    if (answer.status === 200) answered.add(answer.headers['x-request-id']);
    return answer;
  };
  const asking = [
    () => chat(), () => chat(),
    () => chat({}, { 'idempotency-key': randomUUID() }),
    async () => {
      const { res } = await stoker.stream('e');
      const text = await readAll(res);
      if (text.endsWith('[DONE]\n\n')) answered.add(res.headers['x-request-id']);
      return text;
    },
    async () => { const { leave } = await stoker.stream('e'); leave(); return true; },
    async () => { for (const target of ['/metrics', '/api/v1/ps', '/api/v1/usage?by=day', '/api/v1/requests']) await stoker.call(target); return true; },
    () => stoker.post('/v2/e/run', { input: { prompt: 'an owl' } }),
  ].map(ask);
  await until('some are answered', () => over || answered.size > 0);
  stoker.signal('SIGUSR2');
  await Promise.all(asking);
  if (!over) stoker.signal('SIGKILL');
  const end = await stoker.exited;
  await stoker.logEnded;
  await gone(workers);
  assert.ok(failed(), `allocation ${number} was never reached`);
  return { ...end, survived: end.signal === 'SIGKILL' };
}

test('an allocation that fails ends the server and no answer is lost (R5)', { skip: !fs.existsSync(library) && 'NOT TESTED under a sanitizer, which allocates itself', timeout: longEnough }, async (t) => {
  const seed = Number(process.env.STOKER_TEST_SEED ?? 1);
  const lives = sized({ quick: 8, full: 400 });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const stoker = await Stoker.start(t, { sandbox: 'off', deployments: { e: echo({ tokens: 3 }, { concurrency: 4, ...kept }) } }, { folder });
  const answered = new Set();
  const ends = { ended: 0, survived: 0 };
  for (const number of numbers(seed, lives, 20_000)) {
    stoker.signal('SIGKILL');
    await stoker.exited;
    const end = await lifeWithout(stoker, number, answered);
    // abort(), by std::terminate() or an invariant; never a wild pointer.
    assert.ok(end.survived || end.signal === 'SIGABRT', `allocation ${number}: ${JSON.stringify(end)}\n${stoker.log.slice(-2000)}`);
    ++ends[end.survived ? 'survived' : 'ended'];
    await stoker.launch();
    // What was answered in that life is on record in this one, once.
    const rows = await stoker.ledger();
    assert.equal(new Set(rows.map((row) => row.request)).size, rows.length);
    const completed = new Set(rows.filter((row) => row.outcome === 'completed').map((row) => row.request));
    for (const id of answered) assert.ok(completed.has(id), `allocation ${number}: ${id} was answered`);
    answered.clear();
    assert.equal((await stoker.chat('e')).status, 200);
  }
  t.diagnostic(`seed ${seed}, ${lives} allocations: ${ends.ended} ended the server, ${ends.survived} became an error`);
});
