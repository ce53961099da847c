// Which key may do what, on every route that the server says it has: the scopes (C6), and what is another tenant's (C5 in
// RELIABILITY.md). A route without a row here fails; that the document has all routes is a unit test of the gateway.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiDocument } from './lib/api_document.mjs';
import { Stoker, echo, makeKey, request, until } from './lib/stoker.mjs';

const messages = [{ role: 'user', content: 'Tell me a story about an owl.' }];
const once = { max_instances: 1 };

// How a route can lead to what is another tenant's. `asks`: by the name of a deployment in its body; `named`: by one in its
// path; `owned`: by the id of a thing of a deployment that both may use; `lists`: by what it lists; `bounded`: it works on the
// tenant's own things alone; `server`: it knows of none.
const asks = (body) => ({ needs: 'inference', asks: body });
const named = (more = {}) => ({ needs: 'inference', named: true, ...more });
const owned = (more = {}) => ({ needs: 'inference', owned: true, ...more });
const lists = (needs, query = '') => ({ needs, lists: true, query });
const server = (needs) => ({ needs, server: true });
const operator = { needs: 'admin' };  // an admin key is the operator's and sees every tenant
const chat = (model) => ({ model, messages });
const prompt = (model) => ({ model, prompt: 'an owl' });
const form = (model) => ({ model, input: 'an owl', prompt: 'an owl' });
const rows = {
  'POST /v1/chat/completions': asks(chat),
  'POST /v1/completions': asks(prompt),
  'POST /v1/embeddings': asks(form),
  'POST /v1/rerank': asks((model) => ({ model, query: 'an owl', documents: ['an owl'] })),
  'POST /v1/responses': asks(form),
  'POST /v1/messages': asks((model) => ({ model, max_tokens: 5, messages })),
  'POST /v1/messages/count_tokens': asks(chat),
  'POST /v1/audio/transcriptions': asks(form),
  'POST /v1/audio/translations': asks(form),
  'POST /v1/audio/speech': asks(form),
  'POST /v1/images/generations': asks(form),
  'POST /v1/images/edits': asks(form),
  'POST /v1/images/variations': asks(form),
  'POST /api/chat': asks((model) => ({ model, messages, stream: false })),
  'POST /api/generate': asks((model) => ({ model, prompt: 'an owl', stream: false })),
  'POST /api/embed': asks(form),
  'POST /api/embeddings': asks(prompt),
  'POST /api/show': asks((model) => ({ model })),
  'GET /api/tags': lists('inference'),
  'GET /api/ps': lists('inference'),
  'GET /api/version': server('inference'),
  'GET /v1/streams/{request}': owned({ stream: true }),
  'GET /v1/models': lists('inference'),
  'GET /v1/models/{name}': named(),
  'GET /v2': server('inference'),
  'GET /v2/health/live': server('inference'),
  'GET /v2/health/ready': server('inference'),
  'GET /v2/models/{model}': named(),
  'GET /v2/models/{model}/ready': named(),
  'POST /v2/models/{model}/infer': named({ body: { inputs: [] } }),
  'GET /v2/models/{model}/versions/{version}': named(),
  'GET /v2/models/{model}/versions/{version}/ready': named(),
  'POST /v2/models/{model}/versions/{version}/infer': named({ body: { inputs: [] } }),
  'GET /invoke/{deployment}/{path}': named(),
  'POST /invoke/{deployment}/{path}': named({ body: {} }),
  'PUT /invoke/{deployment}/{path}': named({ body: {} }),
  'PATCH /invoke/{deployment}/{path}': named({ body: {} }),
  'DELETE /invoke/{deployment}/{path}': named(),
  'POST /v2/{deployment}/run': named({ body: { input: { prompt: 'an owl' } } }),
  'POST /v2/{deployment}/runsync': named({ body: { input: { prompt: 'an owl' } } }),
  'GET /v2/{deployment}/status/{job}': owned(),
  'POST /v2/{deployment}/status/{job}': owned(),
  'GET /v2/{deployment}/status-sync/{job}': owned(),
  'POST /v2/{deployment}/status-sync/{job}': owned(),
  'GET /v2/{deployment}/stream/{job}': owned(),
  'POST /v2/{deployment}/stream/{job}': owned(),
  'POST /v2/{deployment}/cancel/{job}': owned(),
  'POST /v2/{deployment}/retry/{job}': owned({ known: 409 }),  // it has ended well
  'POST /v2/{deployment}/purge-queue': named({ bounded: true }),
  'GET /v2/{deployment}/health': named(),
  'GET /v2/{deployment}/requests': named({ lists: true }),
  'GET /api/v1/ps': lists('read', '?deployment={name}'),
  'GET /api/v1/events': lists('read', '?deployment={name}'),
  'GET /api/v1/decisions': lists('read', '?deployment={name}'),
  'GET /api/v1/logs/{name}': { needs: 'read', named: true },
  'GET /api/v1/requests': lists('read', '?deployment={name}'),
  'GET /api/v1/requests/{request}': owned({ needs: 'read' }),
  'GET /api/v1/usage': lists('read', '?deployment={name}'),
  'GET /metrics': { ...lists('read') },
  'POST /api/v1/warm/{deployment}': operator,
  'POST /api/v1/stop/{name}': operator,
  'POST /api/v1/reload': operator,
  'GET /api/v1/keys': operator,
  'POST /api/v1/keys': operator,
  'PATCH /api/v1/keys/{key}': operator,
  'DELETE /api/v1/keys/{key}': operator,
  'GET /api/v1/webhooks/secret': operator,
  'GET /healthz': server('nothing'),
  'GET /readyz': server('nothing'),
  'GET /openapi.json': server('nothing'),
};

/// The rows in the order of the document; fails where the two differ.
async function eachOperation(stoker) {
  const { operations } = await ApiDocument.of(stoker);
  assert.deepEqual(operations.map(({ name }) => name).filter((name) => rows[name] === undefined), [], 'routes without a row');
  assert.deepEqual(Object.keys(rows).filter((name) => !operations.some((one) => one.name === name)), [], 'rows without a route');
  return operations.map(({ name, method, path }) => ({ name, method: method.toUpperCase(), path, row: rows[name] }));
}
const ask = (stoker, key, method, target, body, headers = {}) =>
  request(stoker.url + target, { method, body, headers: { ...headers, ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) } });

test('every route with every scope: what a key may not is 403, without a key it is 401 (C6)', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 1 }, { autoscaling: once }) } });
  const opens = { inference: ['inference'], read: ['read'], admin: ['read', 'admin'], 'inference,read': ['inference', 'read'], 'read,admin': ['read', 'admin'], 'inference,read,admin': ['inference', 'read', 'admin'] };
  const keys = await Promise.all(Object.entries(opens).map(async ([scopes, may]) => ({ scopes, may, key: (await makeKey(stoker, '--scopes', scopes)).key })));
  for (const { name, method, path, row } of await eachOperation(stoker)) {
    // Nothing of that name is there, so that what is allowed does nothing.
    const target = path.replace(/\{[^}]+\}/g, 'nobody');
    const told = async (key) => {
      const answer = await ask(stoker, key, method, target, method === 'GET' || method === 'DELETE' ? undefined : {});
      if (answer.status === 403) assert.match(answer.text, /insufficient_scope|scope/, name);
      return answer.status;
    };
    assert.equal(await told(undefined) === 401, row.needs !== 'nothing', `${name} without a key`);
    for (const { scopes, may, key } of keys) {
      const status = await told(key);
      assert.notEqual(status, 401, `${name}, ${scopes}`);
      assert.equal(status !== 403, row.needs === 'nothing' || may.includes(row.needs), `${name} with ${scopes}: ${status}`);
    }
  }
});

test('every route to what is another tenant\'s: it does not exist (C5)', async (t) => {
  const e = () => echo({ tokens: 2 }, { autoscaling: once });
  const stoker = await Stoker.start(t, { deployments: { shared: e(), hidden: e() } });
  const scopes = ['--scopes', 'inference,read'];
  const a = (await makeKey(stoker, '--tenant', 'owner', ...scopes)).key;
  const b = (await makeKey(stoker, '--tenant', 'guest', '--deployments', 'shared', ...scopes)).key;
  // What the owner has: a request, a job and a stream that may be taken up again, of each deployment.
  const things = {};
  for (const name of ['shared', 'hidden']) {
    const answer = await ask(stoker, a, 'POST', '/v1/chat/completions', chat(name));
    assert.equal(answer.status, 200, answer.text);
    things[name] = { request: answer.headers['x-request-id'], job: (await ask(stoker, a, 'POST', `/v2/${name}/run`, { input: { prompt: 'x' } })).json.id };
    await until('it has ended', async () => (await ask(stoker, a, 'GET', `/v2/${name}/status/${things[name].job}`)).json.status === 'COMPLETED');
    await stoker.row(things[name].request);
    const stream = await ask(stoker, a, 'POST', '/v1/chat/completions', { ...chat(name), stream: true }, { 'x-stoker-resumable': '60s' });
    assert.equal(stream.status, 200, stream.text);
    things[name].stream = stream.headers['x-request-id'];
  }
  // A guest's own, so that its lists are not empty.
  assert.equal((await ask(stoker, b, 'POST', '/v1/chat/completions', chat('shared'))).status, 200);
  const traces = [things.shared.request, things.shared.job, things.hidden.request, things.hidden.job, 'hidden', 'owner'];

  for (const { name, method, path, row } of await eachOperation(stoker)) {
    const target = (deployment, things_of = deployment) => path
      .replace(/\{(deployment|model|name)\}/, deployment).replace('{version}', '1').replace('{path}', 'x')
      .replace('{job}', things[things_of].job).replace('{request}', things[things_of][row.stream ? 'stream' : 'request']);
    const told = async (key, deployment, query = '') =>
      ask(stoker, key, method, target(deployment) + query, row.asks ? row.asks(deployment) : row.body);
    const nothingIn = (answer) => { for (const trace of traces) assert.ok(!answer.text.includes(trace), `${name} tells of ${trace}: ${answer.text.slice(0, 500)}`); };

    if (row.needs === 'admin') {
      for (const key of [a, b]) assert.equal((await told(key, 'hidden')).status, 403, name);
      continue;
    }
    if (row.asks || row.named) {
      const mine = await told(a, 'hidden');
      assert.ok(mine.status < 300, `${name} of its owner: ${mine.status} ${mine.text}`);
      const theirs = await told(b, 'hidden');
      assert.equal(theirs.status, 404, `${name}: ${theirs.text}`);
      assert.doesNotMatch((await ask(stoker, b, method, target('hiddn', 'hidden'), row.asks ? row.asks('hiddn') : row.body)).text, /hidden/, name);
    }
    if (row.owned) {
      for (const deployment of ['shared', 'hidden']) {
        assert.equal((await told(a, deployment)).status, row.known ?? 200, name);
        const theirs = await told(b, deployment);
        assert.equal(theirs.status, 404, `${name}: ${theirs.text}`);
      }
    }
    if (row.lists) {
      const theirs = await told(b, 'shared');
      assert.equal(theirs.status, 200, name);
      nothingIn(theirs);
      if (row.query) {
        const query = (deployment) => row.query.replace('{name}', deployment);
        assert.equal((await told(a, 'hidden', query('hidden'))).status, 200, name);
        assert.equal((await told(b, 'hidden', query('hidden'))).status, 404, name);
        nothingIn(await told(b, 'shared', query('shared')));
        // A name that is nearly another's is not completed.
        assert.doesNotMatch((await told(b, 'shared', query('hiddn'))).text, /hidden/, name);
      }
    }
    if (row.bounded || row.server) {
      const theirs = await told(b, 'shared');
      assert.equal(theirs.status, 200, `${name}: ${theirs.text}`);
      if (name !== 'GET /openapi.json') nothingIn(theirs);
    }
  }
});
