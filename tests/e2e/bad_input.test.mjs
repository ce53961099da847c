// What people get wrong: requests, configurations, command lines, two servers in one place. Each
// has one clear answer, and the server goes on.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { once } from 'node:events';
import { test } from 'node:test';
import { descendants, gone, isThere, residentBytes } from './lib/processes.mjs';
import { Stoker, chatModel, cli, echo, hasEngines, llama, request, until } from './lib/stoker.mjs';

const say = { messages: [{ role: 'user', content: 'one two three' }] };

function folder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

function isOpenAiError(answer, status, code) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers['content-type'], /^application\/json/);
  assert.deepEqual(Object.keys(answer.json.error).sort(), ['code', 'message', 'param', 'type']);
  assert.equal(answer.json.error.code, code);
  assert.ok(answer.json.error.message.length > 5);
}

/// Bytes as they are; gives all that comes back until the server closes.
async function raw(stoker, ...parts) {
  const { hostname, port } = new URL(stoker.url);
  const socket = net.connect(Number(port), hostname);
  let text = '';
  socket.on('data', (part) => { text += part; });
  socket.on('error', () => {});  // a reset is an end too
  await once(socket, 'connect');
  for (const part of parts) socket.write(part);
  await once(socket, 'close');
  return text;
}

function parseRaw(text) {
  const [head, ...rest] = text.split('\r\n\r\n');
  const body = rest.join('\r\n\r\n');
  const headers = Object.fromEntries(head.split('\r\n').slice(1).map((line) => [line.split(':')[0].toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]));
  let json;
  try { json = JSON.parse(body); } catch { json = undefined; }
  return { status: Number(head.split(' ')[1]), headers, text, json };
}

test('an unknown model is a 404 with the nearest name, and starts nothing', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { 'chat-small': echo(), other: echo() } });
  const near = await stoker.chat('chat-smal');
  isOpenAiError(near, 404, 'model_not_found');
  assert.match(near.json.error.message, /did you mean 'chat-small'\?/);
  const far = await stoker.chat('something-else-entirely');
  isOpenAiError(far, 404, 'model_not_found');
  assert.match(far.json.error.message, /\/v1\/models/);
  assert.equal((await stoker.ps()).instances.length, 0);
  assert.deepEqual(await stoker.ledger(), [], 'what was never admitted has no record');
});

test('a model that is starting holds its requests on every route, and never answers 404', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ load_time: '400ms', tokens: 1 }) } });
  const first = stoker.chat('e');
  await until('it loads', async () => (await stoker.instances('e')).some((i) => i.state === 'loading'));
  const during = [stoker.chat('e'), stoker.call('/v1/embeddings', { method: 'POST', body: { model: 'e', input: 'x' } }),
    stoker.call('/invoke/e/anything', { method: 'POST', body: { a: 1 } })];
  for (const name of ['/v1/models/e', '/v1/models', '/v2/models/e/ready', '/readyz']) {
    assert.equal((await stoker.call(name)).status, 200, name);
  }
  for (const answer of await Promise.all([first, ...during])) assert.equal(answer.status, 200, answer.text);
});

test('bodies that are no request are refused with an OpenAI-shaped error and run nothing', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const post = (body, headers = {}) => stoker.call('/v1/chat/completions', { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } });
  for (const body of ['', '{', '{"model":"e",}', 'null', '[]', '"e"', '{"model":"e"} x', '{"model":"\ud800"'.concat('"'), '[['.repeat(100_000)]) {
    isOpenAiError(await post(body), 400, 'invalid_json');
  }
  isOpenAiError(await post({}), 400, 'missing_field');
  isOpenAiError(await post({ model: 7 }), 400, 'invalid_type');
  isOpenAiError(await post({ model: '' }), 400, 'invalid_type');
  isOpenAiError(await post({ model: 'e', stream: 'yes' }), 400, 'invalid_type');
  isOpenAiError(await post('{"model":"e","model":"f"}'), 400, 'duplicate_key');
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', 'multipart/form-data; boundary=x']) {
    isOpenAiError(await post({ model: 'e', ...say }, { 'content-type': type }), 415, 'unsupported_media_type');
  }
  isOpenAiError(await stoker.call('/v1/chat/completions'), 405, 'method_not_allowed');
  assert.equal((await stoker.call('/v1/chat/completions')).headers.allow, 'POST');
  assert.equal((await stoker.ps()).instances.length, 0);
  // Only a worker knows what is wrong here; its words go through.
  const worker = await post({ model: 'e', messages: 'not a list' });
  assert.equal(worker.status, 400);
  assert.ok(worker.json.error.message);
});

test('too large a body, too large a header and too long a target are refused before they are held', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const key = `Authorization: Bearer ${stoker.key}\r\nHost: x\r\n`;
  const before = residentBytes(stoker.process.pid);
  const declared = parseRaw(await raw(stoker, `POST /v1/chat/completions HTTP/1.1\r\n${key}Content-Type: application/json\r\nContent-Length: 40000000\r\n\r\n`));
  isOpenAiError(declared, 413, declared.json.error.code);
  assert.equal(declared.headers.connection, 'close');
  const continued = await raw(stoker, `POST /v1/chat/completions HTTP/1.1\r\n${key}Content-Type: application/json\r\nContent-Length: 40000000\r\nExpect: 100-continue\r\n\r\n`);
  assert.match(continued, /^HTTP\/1\.1 413 /, 'no 100 Continue for what is refused');
  const head = parseRaw(await raw(stoker, `GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(40_000)}\r\n\r\n`));
  isOpenAiError(head, 431, head.json.error.code);
  const fields = parseRaw(await raw(stoker, `GET /healthz HTTP/1.1\r\nHost: x\r\n${Array.from({ length: 120 }, (_, i) => `X-${i}: y\r\n`).join('')}\r\n`));
  isOpenAiError(fields, 431, fields.json.error.code);
  const target = parseRaw(await raw(stoker, `GET /${'a'.repeat(9_000)} HTTP/1.1\r\nHost: x\r\n\r\n`));
  isOpenAiError(target, 414, target.json.error.code);
  const nonsense = parseRaw(await raw(stoker, '\x16\x03\x01\x02\x00\x01\x00\r\n\r\n'));
  isOpenAiError(nonsense, 400, nonsense.json.error.code);
  assert.ok(residentBytes(stoker.process.pid) - before < 4 << 20);
  assert.equal((await stoker.chat('e')).status, 200);
});

test('a missing or wrong key is 401 before the body is looked at', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo() } });
  const ask = (headers) => request(`${stoker.url}/v1/chat/completions`, { method: 'POST', body: '{', headers: { 'content-type': 'application/json', ...headers } });
  isOpenAiError(await ask({}), 401, 'missing_api_key');
  isOpenAiError(await ask({ authorization: 'Bearer sk-wrong' }), 401, 'invalid_api_key');
  assert.ok(!stoker.log.includes('sk-wrong'));
});

for (const [what, options] of [['missing', { file: undefined }], ['broken', { file: 'GGUF, but no more than that' }], ['empty', { file: '' }]]) {
  test(`a ${what} model file is a 503 with its reason, at once, and \`stoker run\` shows the log where it says more`, { skip: !hasEngines && 'built without engines' }, async (t) => {
    const model = path.join(folder(t), 'model.gguf');
    if (options.file !== undefined) fs.writeFileSync(model, options.file);
    const stoker = await Stoker.start(t, { deployments: { chat: llama({}, { model }), e: echo() } });
    const answer = await stoker.chat('chat');
    const answered = Date.now();
    isOpenAiError(answer, 503, 'load_failed');
    assert.match(answer.json.error.message, /model_(missing|broken)/);
    assert.ok(Number(answer.headers['retry-after']) >= 1);
    const failed = (await stoker.events()).find((e) => e.event === 'instance_load_failed');
    assert.ok(answered - Date.parse(failed.at) < 1000, 'within a second of the failed load');
    // In its backoff the next one is not kept waiting, and the others do not notice.
    const again = await stoker.chat('chat');
    isOpenAiError(again, 503, 'load_failed');
    assert.equal((await stoker.events()).filter((e) => e.event === 'instance_starting' && e.deployment === 'chat').length, 1);
    assert.equal((await stoker.chat('e')).status, 200);
    const run = await cli(['run', 'chat', 'hello', '--config', stoker.configFile, '--url', stoker.url]);
    assert.equal(run.code, 1);
    assert.match(run.stderr, /^error: .*could not be loaded/);
    assert.equal(/last lines of its log/.test(run.stderr), what !== 'missing', 'the log of a missing file only repeats it');
    // A worker's last words are written by a thread of their own.
    await until('its log shows something', async () => {
      const logs = await cli(['logs', 'chat', '--config', stoker.configFile, '--url', stoker.url]);
      assert.equal(logs.code, 0);
      return logs.stdout.length > 0;
    });
    // The file comes: the next attempt, once its time is there, serves.
    fs.copyFileSync(chatModel, model);
    const served = await until('it is served', async () => {
      const next = await stoker.chat('chat', { max_tokens: 4 });
      return next.status === 200 ? next : undefined;
    });
    assert.equal(served.headers['x-stoker-start'], 'cold');
    assert.equal((await stoker.row(again.headers['x-request-id'])).outcome, 'refused');
  });
}

// --- The command line -----------------------------------------------------------------------------

const serve = (file, env = {}) => cli(['serve', '--config', file], { env });

test('all problems of a configuration come at once, each with its place and a hint; exit code 2', async (t) => {
  const file = path.join(folder(t), 'stoker.yaml');
  fs.writeFileSync(file, `listen: 127.0.0.1:0
state_dri: ./state
deployments:
  chat:
    runtime: echo
    concurrency: many
    autoscaling:
      min_instances: 3
      max_instances: 2
      scale_down_dely: 5 minutes
`);
  const { code, stderr } = await serve(file);
  assert.equal(code, 2);
  const lines = stderr.trim().split('\n');
  const at = (line, column, text) => assert.ok(
    lines.some((one) => one.startsWith(`${file}:${line}:${column}: `) && text.test(one)), `${line}:${column} ${text} in\n${stderr}`);
  at(2, 1, /state_dri: .*did you mean 'state_dir'/);
  at(6, 18, /deployments\.chat\.concurrency: .*many/);
  at(8, 22, /min_instances: is 3, above max_instances = 2/);
  at(10, 7, /scale_down_dely: .*did you mean 'scale_down_delay'/);
  assert.match(lines.at(-1), /^4 problems; nothing was started/);
  assert.ok(!fs.existsSync(path.join(path.dirname(file), 'state')));
});

test('a file that is not there, not readable or not YAML: one clear message, exit code 2', async (t) => {
  const home = folder(t);
  const broken = path.join(home, 'broken.yaml');
  fs.writeFileSync(broken, 'listen: [1, 2\nstate_dir: }');
  const binary = path.join(home, 'binary.yaml');
  fs.writeFileSync(binary, Buffer.from([0, 255, 1, 254, 0]));
  for (const file of [path.join(home, 'absent.yaml'), home, broken, binary]) {
    const { code, stderr } = await serve(file);
    assert.equal(code, 2, stderr);
    assert.ok(stderr.includes(path.basename(file)), stderr);
    assert.ok(stderr.trim().split('\n').length <= 2, stderr);
    assert.ok(!/terminate|what\(\)/.test(stderr), stderr);
  }
});

test('wrong usage is exit code 2', async () => {
  for (const args of [[], ['nonsense'], ['serve', '--no-such-option'], ['run'], ['serve', '--config', '/nonexistent', '--set', 'x']]) {
    const { code, stderr, stdout } = await cli(args);
    assert.equal(code, 2, args.join(' '));
    assert.ok((stderr + stdout).length > 0);
  }
});

test('a port in use: one clear message that names it, exit code 1, nothing left behind', async (t) => {
  const home = folder(t);
  const taken = net.createServer();
  taken.listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  const address = `127.0.0.1:${taken.address().port}`;
  const file = path.join(home, 'stoker.yaml');
  fs.writeFileSync(file, JSON.stringify({ listen: address, state_dir: path.join(home, 'state'), deployments: { e: echo({}, { autoscaling: { min_instances: 1, max_instances: 1 } }) } }));
  const { code, stderr } = await serve(file);
  assert.equal(code, 1, stderr);
  const errors = stderr.split('\n').filter((line) => line.startsWith('error: '));
  assert.equal(errors.length, 1, stderr);
  assert.ok(errors[0].includes(address), stderr);
  assert.ok(!stderr.includes('instance_starting'), 'nothing is started for a server that cannot be reached');
});

test('a second server on the same state directory ends at once, naming the first; exit code 1 (O11)', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 2 }) } });
  await stoker.chat('e');
  const [worker] = descendants(stoker.process.pid);
  const begun = Date.now();
  const { code, stderr } = await serve(stoker.configFile);
  assert.equal(code, 1, stderr);
  assert.match(stderr, new RegExp(`^error: .*state is in use by process ${stoker.process.pid}\\n  fix: `));
  assert.ok(Date.now() - begun < 3000);
  assert.ok(isThere(worker), 'the first one\'s worker is left alone');
  assert.equal((await stoker.chat('e')).headers['x-stoker-start'], 'warm');
});

test('a state directory that cannot be made: one clear message, exit code 1', async (t) => {
  const home = folder(t);
  fs.writeFileSync(path.join(home, 'state'), 'a file');
  const file = path.join(home, 'stoker.yaml');
  fs.writeFileSync(file, JSON.stringify({ listen: '127.0.0.1:0', state_dir: path.join(home, 'state'), deployments: { e: echo() } }));
  const { code, stderr } = await serve(file);
  assert.equal(code, 1, stderr);
  assert.match(stderr, /^error: .*state/);
});

test('Ctrl-C lets what runs finish, then exits 0 with no worker left', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 20, token_delay: '20ms' }) } });
  const answer = stoker.chat('e');
  await until('it runs', async () => (await stoker.deployment('e')).running === 1);
  const below = descendants(stoker.process.pid);
  assert.ok(below.length > 0);
  stoker.signal('SIGINT');
  assert.equal((await answer).status, 200);
  assert.deepEqual(await stoker.exited, { code: 0, signal: null });
  await gone(below, 100);
});

test('a second Ctrl-C ends at once, and still leaves no worker behind', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 1000, token_delay: '20ms' }) } });
  const answer = stoker.chat('e').catch((error) => error);
  await until('it runs', async () => (await stoker.deployment('e')).running === 1);
  const below = descendants(stoker.process.pid);
  stoker.signal('SIGINT');
  await stoker.logs(/event=server_stopping/);
  stoker.signal('SIGINT');
  assert.deepEqual(await stoker.exited, { code: 130, signal: null });
  assert.ok(await answer instanceof Error);
  await gone(below);
  await stoker.launch();  // the next life removes what this one could not, its cgroups
});
