// Engines that know nothing of Stoker, as `runtime: command`: a plain http.server of Python and a
// plain server of Node, both in the sandbox without network.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Stoker, cli, openStream, readAll, repository, sseEvents, until } from './lib/stoker.mjs';

const servers = path.join(repository, 'tests/contract/servers');
const kinds = {
  // Programs come from the system's folders, which the sandbox shows; the script is the "model".
  'Python': { command: ['/usr/bin/python3', '{model}'], model: path.join(servers, 'openai_server.py') },
  'Node': { command: ['/usr/bin/node', '{model}', '{port}'], model: path.join(servers, 'openai_server.mjs') },
};
const engine = (kind, more = {}) => ({
  runtime: 'command', ...kinds[kind], usage: 'inject', env: { PYTHONUNBUFFERED: '1' },
  autoscaling: { max_instances: 1 }, ...more,
});

/// Requests that the engine itself says are under way.
const runningIn = async (stoker) => (await stoker.call('/invoke/e/running')).json.running;

/// Processes that have the script in their command line, {pid, program}: the engine, what it left
/// behind, and what holds its sandbox.
function processesOf(script) {
  return fs.readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)).flatMap((pid) => {
    try {
      const [program, ...rest] = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return rest.includes(script) ? [{ pid, program }] : [];
    } catch {
      return [];  // it ended meanwhile
    }
  });
}

/// The script under a name of this test's own, so that its processes can be told from others'.
function ownScript(stokerFolder, kind) {
  const script = path.join(stokerFolder, path.basename(kinds[kind].model));
  fs.copyFileSync(kinds[kind].model, script);
  return script;
}

test('paths are relative to the configuration, and an engine sees its neighbours, not the keys', async (t) => {
  const folder = fs.mkdtempSync(path.join(process.env.TMPDIR ?? '/tmp', 'stoker-paths-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const put = (name, text, mode = 0o644) => {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), text, { mode });
  };
  // A virtual environment's program is a link into another prefix.
  put('prefix/bin/engine', `#!/usr/bin/python3\n${fs.readFileSync(path.join(servers, 'openai_server.py'), 'utf8')}`, 0o755);
  fs.mkdirSync(path.join(folder, 'venv/bin'), { recursive: true });
  fs.symlinkSync(path.join(folder, 'prefix/bin/engine'), path.join(folder, 'venv/bin/engine'));
  put('app/neighbour.py', 'WORD = "hello"\n');
  put('app/web.py', `
import http.server, os, sys
import neighbour
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers['Content-Length'])).decode())
    def do_GET(self):
        self.answer(neighbour.WORD)
    def answer(self, name):
        try:
            text = open(name).read() if name.startswith('/') else name
        except OSError as error:
            text = 'refused: ' + error.strerror
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
`);
  put('shown/file', 'shown');
  put('hidden/file', 'hidden');
  const stoker = await Stoker.start(t, { state_dir: './state', deployments: {
    linked: { runtime: 'command', command: ['./venv/bin/engine'], autoscaling: { max_instances: 1 } },
    web: { runtime: 'command', command: ['/usr/bin/python3', 'app/web.py', '{port}'], readable: ['shown', '.'], autoscaling: { max_instances: 1 } },
  } }, { folder });
  const answer = await stoker.chat('linked', { max_tokens: 1 });
  assert.equal(answer.status, 200, answer.text);
  const read = async (name) => (await stoker.call('/invoke/web/x', { method: 'POST', body: Buffer.from(path.join(folder, name)) })).text;
  assert.equal((await stoker.call('/invoke/web/x')).text, 'hello');
  assert.equal(await read('shown/file'), 'shown');
  const { checks } = JSON.parse((await cli(['doctor', '--json'])).stdout);
  if (checks.find((check) => check.check === 'sandbox').state === 'ok') {
    // `readable: [.]` shows the folder round the configuration, but neither it nor the state.
    assert.equal(await read('hidden/file'), 'hidden');
    assert.match(await read('stoker.yaml'), /^refused/);
    assert.match(await read('state/admin.key'), /^refused/);
  }
  const shown = await cli(['ps', '--config', stoker.configFile, '--url', stoker.url]);
  assert.equal(shown.code, 0, shown.stderr);
  const lost = await cli(['ps', '--url', stoker.url], { env: { STOKER_CONFIG: '', HOME: '/nonexistent' } });
  assert.match(lost.stderr, /STOKER_API_KEY is not set, and no configuration/);
  fs.renameSync(path.join(folder, 'state/admin.key'), path.join(folder, 'state/kept'));
  const without = await cli(['ps', '--config', stoker.configFile, '--url', stoker.url]);
  assert.match(without.stderr, new RegExp(`no key was sent: there is no ${folder}/state/admin.key`));
  await stoker.end();
});

test('an engine that is up and never ready is ended, and everybody is told what it answers', async (t) => {
  const stoker = await Stoker.start(t, { deployments: {
    slow: engine('Python', { health_path: '/nope', limits: { load_timeout: '1m', queue_timeout: '1s' } }),
    wrong: engine('Python', { health_path: '/nope', limits: { load_timeout: '500ms' } }),
  } });
  const wrong = await stoker.chat('wrong', { max_tokens: 1 });
  assert.equal(wrong.status, 503, wrong.text);
  assert.match(wrong.json.error.message, /GET \/nope on port \d+ answered 404, \d+ times; set health_path/);
  const slow = await stoker.chat('slow', { max_tokens: 1 });
  assert.equal(slow.status, 503, slow.text);
  assert.match(slow.json.error.message, /queue_timeout.*slow\/\d+ is loading: GET \/nope on port \d+ answered 404/);
  assert.match((await stoker.instances('slow'))[0].load_detail, /^GET \/nope on port \d+ answered 404$/);
  const shown = await cli(['ps', '--config', stoker.configFile, '--url', stoker.url]);
  assert.match(shown.stdout, /slow\/\d+ is loading: GET \/nope on port \d+ answered 404/);
});

for (const kind of Object.keys(kinds)) {
  const skip = !fs.existsSync(kinds[kind].command[0]) && `${kinds[kind].command[0]} is missing`;

  test(`${kind}: a cold start is held, answers and streams are relayed, the engine's usage is recorded`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { e: engine(kind) } });
    const cold = await stoker.chat('e', { max_tokens: 4 });
    assert.equal(cold.status, 200, cold.text);
    assert.equal(cold.headers['x-stoker-start'], 'cold');
    assert.equal(cold.json.choices[0].message.content.trim(), 'token token token token');
    const unary = await stoker.row(cold.headers['x-request-id']);
    assert.deepEqual([unary.usage.known, unary.usage.input_tokens, unary.usage.output_tokens], [true, 7, 4]);
    assert.ok(unary.usage.device_ms >= 30, 'four tokens of 10 ms');

    for (const asks of [true, false]) {
      const { res } = await stoker.stream('e', { max_tokens: 5, ...(asks ? { stream_options: { include_usage: true } } : {}) });
      const events = sseEvents(await readAll(res));
      const chunks = events.filter((e) => e.data && e.data !== '[DONE]').map((e) => JSON.parse(e.data));
      assert.equal(events.at(-1).data, '[DONE]');
      assert.equal(chunks.filter((chunk) => chunk.choices.length > 0).length, 5);
      assert.equal(chunks.filter((chunk) => chunk.usage).length, asks ? 1 : 0, 'usage is for who asked');
      const row = await stoker.row(res.headers['x-request-id']);
      assert.deepEqual([row.usage.known, row.usage.input_tokens, row.usage.output_tokens], [true, 7, 5]);
    }
  });

  test(`${kind}: a gone client closes the engine's connection`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { e: engine(kind) } });
    await stoker.chat('e', { max_tokens: 1 });
    const { res, leave } = await stoker.stream('e', { max_tokens: 100_000 });
    await new Promise((resolve) => { res.once('data', resolve); });
    assert.equal(await runningIn(stoker), 1);
    const begun = performance.now();
    leave();
    await until('the engine has let go', async () => (await runningIn(stoker)) === 0);
    t.diagnostic(`${kind}: the engine had let go ${(performance.now() - begun).toFixed(1)} ms after the disconnect`);
    const row = await stoker.row(res.headers['x-request-id']);
    assert.equal(row.outcome, 'cancelled');
    assert.ok(row.usage.output_tokens >= 1, 'what was relayed is recorded');
  });

  test(`${kind}: an engine that crashes ends its streams with an error, and is started again`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments: { e: engine(kind) } });
    await stoker.chat('e', { max_tokens: 1 });
    const { res } = await stoker.stream('e', { max_tokens: 100_000 });
    const text = readAll(res);
    await until('it streams', async () => (await runningIn(stoker)) === 1);
    const dying = openStream(`${stoker.url}/invoke/e/die`, 9, stoker.headers).catch(() => {});
    const events = sseEvents(await text).filter((event) => event.data);
    assert.equal(JSON.parse(events.at(-1).data).error.code, 'instance_lost');
    assert.ok(!events.some((event) => event.data === '[DONE]'));
    await dying;
    assert.equal((await stoker.row(res.headers['x-request-id'])).outcome, 'failed');
    const again = await until('it answers again', async () => {
      const answer = await stoker.chat('e', { max_tokens: 2 });
      return answer.status === 200 && answer;
    });
    assert.equal(again.headers['x-stoker-start'], 'cold');
    assert.equal((await stoker.instances('e'))[0].instance, 'e/2');
  });

  test(`${kind}: nothing of the engine is left after stop, nor after the server`, { skip }, async (t) => {
    const folder = fs.mkdtempSync(path.join(process.env.TMPDIR ?? '/tmp', 'stoker-engine-'));
    t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
    const script = ownScript(folder, kind);
    // A name that is not on this machine: a file that a command names is bound into the sandbox, and a
    // mount point cannot be renamed over.
    const childFile = `/tmp/${path.basename(folder)}-child`;
    t.after(() => fs.rmSync(childFile, { force: true }));  // seen only where there is no sandbox
    const extra = kind === 'Python' ? ['--leave-child', childFile] : [];
    const deployment = engine(kind, { model: script });
    deployment.command = [...deployment.command, ...extra];
    const stoker = await Stoker.start(t, { deployments: { e: deployment } });
    await stoker.chat('e', { max_tokens: 1 });
    const enginesNow = () => processesOf(script).filter(({ program }) => program === kinds[kind].command[0]);
    await until('the engine runs, and the child that left its group', () => enginesNow().length === (kind === 'Python' ? 2 : 1));
    const engines = enginesNow();
    const { checks } = JSON.parse((await cli(['doctor', '--json'])).stdout);
    if (checks.find((check) => check.check === 'sandbox').state === 'ok') {
      const network = (pid) => fs.readlinkSync(`/proc/${pid}/ns/net`);
      assert.notEqual(network(engines[0].pid), network('self'), 'the engine has no network but its own loopback');
    } else {
      t.diagnostic('this machine has no sandbox: isolation was not looked at');
    }
    assert.equal((await stoker.call('/api/v1/stop/e', { method: 'POST' })).status, 202);
    await until('the instance is gone', async () => (await stoker.instances('e')).length === 0);
    assert.deepEqual(processesOf(script), []);
    assert.equal((await stoker.ps()).devices[0].reserved_bytes, 0);
    await stoker.chat('e', { max_tokens: 1 });
    assert.ok(processesOf(script).length >= 1);
    await stoker.end();
    assert.deepEqual(processesOf(script), []);
  });
}
