// Requests of one session go to one instance, whose cache holds what they share, as long as it is
// not overloaded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stoker, echo, until } from './lib/stoker.mjs';

const three = { concurrency: 4, autoscaling: { min_instances: 3, max_instances: 3 } };

async function ready(stoker, name, count) {
  await until(`${count} instances of ${name}`, async () =>
    (await stoker.instances(name)).filter((i) => i.state === 'ready').length === count, 20_000);
}
/// The instances that ran the requests, by the ledger.
async function ranOn(stoker, answers) {
  const rows = await Promise.all(answers.map((answer) => stoker.row(answer.headers['x-request-id'])));
  return rows.map((row) => row.instance);
}

test('one session, one instance', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { m: echo({ tokens: 2 }, three) } });
  await ready(stoker, 'm', 3);
  const used = new Set();
  for (const [name, options, headers] of [
    ...['a', 'b', 'c', 'd', 'e', 'f'].map((user) => [user, { user }, {}]),
    ['a key of the cache', { prompt_cache_key: 'k' }, {}],
    ['a header', {}, { 'x-stoker-session': 's' }],
    ['the beginning of a prompt', {}, {}],
  ]) {
    const answers = [];
    for (let i = 0; i < 4; ++i) answers.push(await stoker.chat('m', options, headers));
    const instances = new Set(await ranOn(stoker, answers));
    assert.equal(instances.size, 1, `${name}: ${[...instances]}`);
    used.add([...instances][0]);
  }
  assert.ok(used.size > 1, `all sessions went to ${[...used]}`);
});

test('a session does not overload its instance', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { m: echo({ tokens: 400, token_delay: '20ms' }, three) } });
  await ready(stoker, 'm', 3);
  const clients = Array.from({ length: 9 }, () => stoker.send('m', { user: 'a', stream: true }));
  t.after(() => clients.forEach((client) => client.leave()));
  // Bounded load: no more than 1.25 times the mean, rounded up.
  const loads = await until('nine run', async () => {
    const all = (await stoker.instances('m')).map((i) => i.in_flight);
    return all.reduce((a, b) => a + b, 0) === 9 ? all : undefined;
  });
  assert.ok(Math.max(...loads) <= Math.ceil((9 * 1.25) / 3), `in flight: ${loads}`);
});

test('no text of a session is in a log or the ledger', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { m: echo({ tokens: 2 }, three) }, log: { level: 'debug' } });
  await ready(stoker, 'm', 3);
  const answer = await stoker.chat('m', { user: 'sesame-user', messages: [{ role: 'user', content: 'sesame-prompt' }] }, { 'x-stoker-session': 'sesame-session' });
  const row = await stoker.row(answer.headers['x-request-id']);
  assert.ok(!JSON.stringify(row).includes('sesame'));
  assert.ok(!stoker.log.includes('sesame'));
});
