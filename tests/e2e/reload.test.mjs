// The configuration, read anew while the server runs: SIGHUP and `stoker reload`.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { once } from 'node:events';
import { test } from 'node:test';
import { Stoker, cli, echo, readAll, request, sseEvents, until } from './lib/stoker.mjs';

/// Changes the configuration file of a running server.
function rewrite(stoker, change) {
  const config = JSON.parse(fs.readFileSync(stoker.configFile, 'utf8'));
  change(config);
  fs.writeFileSync(`${stoker.configFile}.new`, JSON.stringify(config, null, 1));
  fs.renameSync(`${stoker.configFile}.new`, stoker.configFile);
}
const reload = (stoker) => stoker.call('/api/v1/reload', { method: 'POST' });

test('deployments come, change and go; the instances of the others and their streams go on', async (t) => {
  const stoker = await Stoker.start(t, { deployments: {
    stays: echo({ tokens: 300, token_delay: '10ms' }), bounds: echo({ tokens: 2 }), model: echo({ tokens: 2 }), goes: echo({ tokens: 100, token_delay: '10ms' }) } });
  for (const name of ['stays', 'bounds', 'model', 'goes']) assert.equal((await stoker.chat(name, { max_tokens: 2 })).status, 200);
  assert.match((await stoker.call('/metrics')).text, /stoker_instances\{deployment="goes",state="ready"\} 1/);
  const pids = Object.fromEntries((await stoker.ps()).instances.map((i) => [i.deployment, i.pid]));
  const stream = await stoker.stream('stays');
  const text = readAll(stream.res);
  const last = stoker.chat('goes');  // runs while its deployment is taken out
  await until('it runs', async () => (await stoker.deployment('goes')).running === 1);

  rewrite(stoker, ({ deployments }) => {
    delete deployments.goes;
    deployments.comes = echo({ tokens: 3 });
    deployments.bounds.autoscaling = { max_instances: 3 };
    deployments.bounds.pricing = { per_request: '$0.5' };
    deployments.bounds.aliases = ['org/other'];
    deployments.model.options.tokens = 7;
  });
  const answer = await reload(stoker);
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual({ ...answer.json, problems: undefined }, { ok: true, added: ['comes'], changed: ['bounds'], replaced: ['model'], removed: ['goes'], settings: [], needs_restart: [], problems: undefined });

  assert.equal((await stoker.chat('comes')).json.usage.completion_tokens, 3);
  assert.equal((await stoker.chat('goes')).status, 404);
  assert.equal((await last).status, 200, 'what ran has finished');
  assert.equal((await stoker.chat('model')).json.usage.completion_tokens, 7, 'by a new instance');
  const priced = await stoker.chat('org/other');
  assert.equal(priced.status, 200);
  assert.equal(priced.headers['x-stoker-start'], 'warm');
  assert.match(JSON.stringify(await stoker.row(priced.headers['x-request-id'])), /"amount":"(USD )?0?\.5|"amount":"0\.5/);
  const after = (await stoker.ps()).instances;
  for (const name of ['stays', 'bounds']) assert.ok(after.some((i) => i.deployment === name && i.pid === pids[name]), name);
  assert.equal((await stoker.ps()).deployments.find((d) => d.name === 'bounds').max_instances, 3);
  await until('the old instances are gone', async () => (await stoker.ps()).instances.every((i) => i.pid !== pids.goes && i.pid !== pids.model));
  assert.equal(sseEvents(await text).at(-1).data, '[DONE]');
  const metrics = (await stoker.call('/metrics')).text;
  assert.match(metrics, /stoker_instances\{deployment="goes",state="ready"\} 0/);
});

test('what waits for a model that is replaced is served, not refused', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ load_time: '1s', tokens: 2 }) } });
  const waiting = [1, 2, 3].map(() => stoker.chat('e'));
  await until('they wait', async () => (await stoker.deployment('e')).queued === 3);
  rewrite(stoker, ({ deployments }) => { deployments.e.options.tokens = 5; });
  assert.deepEqual((await reload(stoker)).json.replaced, ['e']);
  assert.equal((await stoker.chat('e')).json.usage.completion_tokens, 5);
  for (const answer of await Promise.all(waiting)) {
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.usage.completion_tokens, 2);
  }
});

test('any problem keeps everything as it was, and all of them are told; the command exits with 2', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 2 }) } });
  await stoker.chat('e');
  rewrite(stoker, (config) => {
    config.deployments.f = echo();
    config.deployments.e.concurrency = 'many';
    config.state_dri = 'x';
  });
  const answer = await reload(stoker);
  assert.equal(answer.status, 422);
  assert.equal(answer.json.ok, false);
  assert.equal(answer.json.problems.filter((p) => p.severity === 'error').length, 2);
  assert.equal((await stoker.chat('f')).status, 404);
  assert.equal((await stoker.chat('e')).headers['x-stoker-start'], 'warm');
  const command = await cli(['reload', '--config', stoker.configFile, '--url', stoker.url], { env: { STOKER_API_KEY: stoker.key } });
  assert.equal(command.code, 2, command.stderr);
  assert.match(command.stderr, /concurrency: .*many/);
  assert.match(command.stderr, /state_dri/);
  assert.match(command.stderr, /2 problems; everything stays as it was/);
  const local = await cli(['reload', '--config', stoker.configFile]);
  assert.equal(local.code, 2);
  assert.match(local.stderr, /concurrency: .*many/);
  stoker.signal('SIGHUP');
  await until('the log says so', () => (stoker.log.match(/event=configuration_refused/g) ?? []).length === 3);
  assert.equal((await stoker.events()).filter((e) => e.event === 'configuration_refused').length, 3);
});

test('what only a start can change is named, the rest is done; SIGHUP and the command do the same', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 2 }) } });
  rewrite(stoker, (config) => {
    config.listen = '127.0.0.1:1';
    config.drain_timeout = '5s';
    config.deployments.f = echo({ tokens: 4 });
  });
  const command = await cli(['reload', '--config', stoker.configFile, '--url', stoker.url]);
  assert.equal(command.code, 0, command.stderr);
  assert.match(command.stdout, /^added: f$/m);
  assert.match(command.stdout, /^only a restart changes: listen, drain_timeout$/m);
  assert.equal((await stoker.chat('f')).json.usage.completion_tokens, 4);
  rewrite(stoker, (config) => { delete config.deployments.f; });
  stoker.signal('SIGHUP');
  await until('it is gone', async () => (await stoker.chat('f')).status === 404);
  assert.ok((await stoker.events()).some((e) => e.event === 'configuration_reloaded' && /removed f/.test(e.message ?? e.text ?? JSON.stringify(e))));
});

test('only an admin key may reload', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const made = await stoker.post('/api/v1/keys', { name: 'reader', scopes: ['read', 'inference'] });
  const key = made.json.key;
  assert.ok(key, made.text);
  const answer = await request(`${stoker.url}/api/v1/reload`, { method: 'POST', headers: { authorization: `Bearer ${key}` } });
  assert.equal(answer.status, 403);
  assert.equal((await stoker.call('/api/v1/reload')).status, 405);
});

test('requests all the way through a hundred reloads: none is lost', { timeout: 120_000 }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 1 }) } });
  let going = true;
  const outcomes = {};
  const client = async () => {
    while (going) {
      const { status } = await stoker.chat('e');
      outcomes[status] = (outcomes[status] ?? 0) + 1;
    }
  };
  const clients = [client(), client()];
  for (let i = 0; i < 100; ++i) {
    rewrite(stoker, ({ deployments }) => {
      deployments.e.limits = { max_queued: 100 + i };
      if (i % 10 === 9) deployments.e.options.tokens = 1 + (i % 3);
    });
    assert.equal((await reload(stoker)).status, 200);
  }
  going = false;
  await Promise.all(clients);
  assert.deepEqual(Object.keys(outcomes), ['200'], JSON.stringify(outcomes));
  // The last reload may have found nobody who waits, and then it starts none.
  assert.equal((await stoker.chat('e')).status, 200);
  await until('one instance is left', async () => (await stoker.ps()).instances.length === 1);
});
