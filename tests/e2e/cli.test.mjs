// The command line against a real server: what people read, what programs parse, how it finds the
// server, and what it exits with.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { workerOf } from './lib/processes.mjs';
import { Stoker, bin, chatModel, cli, echo, hasEngines, onnxModel, readAll, until } from './lib/stoker.mjs';

// Nothing of the caller's environment may decide where a command looks.
const clean = { STOKER_URL: '', STOKER_CONFIG: '', STOKER_API_KEY: '' };

/// A deployment that has answered once, and the way to run commands against it.
async function served(t, deployments = { e: echo({ tokens: 4 }) }) {
  const stoker = await Stoker.start(t, { deployments });
  // Port 0 in the file cannot be found again: the address comes from the server, the key from the file.
  const at = ['--url', stoker.url, '--config', stoker.configFile];
  return { stoker, at, run: (...args) => cli([...args, ...at], { env: clean }) };
}

async function succeeds(result) {
  const { code, stdout, stderr } = await result;
  assert.equal(code, 0, stderr);
  return stdout;
}

test('each reading command prints a table and, with --json, JSON', async (t) => {
  const { stoker, run } = await served(t);
  const answer = await stoker.chat('e');
  const id = answer.headers['x-request-id'];
  await stoker.row(id);

  const ps = JSON.parse(await succeeds(run('ps', '--json')));
  for (const key of ['name', 'queued', 'ready_instances', 'desired_instances']) assert.ok(key in ps.deployments[0], key);
  for (const key of ['instance', 'deployment', 'state', 'device', 'pid', 'in_flight', 'endpoint']) assert.ok(key in ps.instances[0], key);
  for (const key of ['id', 'kind', 'memory_bytes', 'reserved_bytes']) assert.ok(key in ps.devices[0], key);
  assert.equal(ps.deployments[0].name, 'e');
  assert.equal(ps.instances[0].state, 'ready');
  assert.match(await succeeds(run('ps')), /DEPLOYMENT .*\ne +1 .*warm[^]*INSTANCE .*\ne\/1 +ready[^]*DEVICE /);

  const events = JSON.parse(await succeeds(run('events', '--json'))).events;
  assert.ok(events.some((event) => event.event === 'instance_ready'));
  assert.match(await succeeds(run('events')), /instance_ready +e\/1 is ready/);
  const [start] = JSON.parse(await succeeds(run('decisions', '--deployment', 'e', '--json'))).decisions;
  assert.equal(start.decision, 'start');
  assert.equal(start.instance, 'e/1');
  assert.ok(start.reason && start.memory_bytes > 0 && start.devices.length === 1, JSON.stringify(start));
  assert.match(await succeeds(run('decisions')), /start e\/1 of e on \S+ with .* \(\w+\)/);

  const requests = JSON.parse(await succeeds(run('requests', '--json'))).requests;
  assert.deepEqual(requests.map((row) => row.request), [id]);
  assert.match(await succeeds(run('requests')), new RegExp(`REQUEST .*\n${id} +e +completed +cold`));
  assert.equal(JSON.parse(await succeeds(run('requests', id))).request, id);

  for (const by of ['deployment', 'tenant', 'day']) {
    const usage = JSON.parse(await succeeds(run('usage', '--by', by, '--json'))).usage;
    assert.equal(usage[0].requests, 1);
    assert.equal(usage[0].output_tokens, 4);
    assert.match(await succeeds(run('usage', '--by', by)), /REQUESTS/);
  }
  assert.equal(JSON.parse(await succeeds(run('logs', 'e', '--json'))).name, 'e');
  await succeeds(run('logs', 'e'));

  const doctor = await cli(['doctor', '--json'], { env: clean });
  assert.ok(JSON.parse(doctor.stdout).checks.length > 3);
  assert.match((await cli(['doctor'], { env: clean })).stdout, /^ok +worker\.echo/m);
  assert.match(JSON.parse(await succeeds(cli(['version', '--json']))).version, /^\d+\.\d+\.\d+/);
  assert.match(await succeeds(cli(['version'])), /^stoker \d/);
  assert.equal(JSON.parse(await succeeds(cli(['check', stoker.configFile, '--json']))).ok, true);
  assert.match(await succeeds(cli(['check', stoker.configFile])), /^ok: 1 deployments?, fingerprint/);
  assert.equal(typeof JSON.parse(await succeeds(cli(['check', '--schema']))), 'object');
  assert.match(await succeeds(cli(['check', stoker.configFile, '--print'])), /^deployments:$/m);
});

test('numbers stand to the right, and money lines up', async (t) => {
  const priced = (amount) => echo({ tokens: 1 }, { pricing: { per_request: amount } });
  const { stoker, run } = await served(t, { dear: priced('$12.5'), fine: priced('$0.0625') });
  for (const name of ['dear', 'fine']) await stoker.row((await stoker.chat(name)).headers['x-request-id']);
  for (const command of ['requests', 'usage']) {
    const table = (await succeeds(run(command))).trimEnd().split('\n');
    assert.ok(new Set(table.map((line) => line.length)).size === 1, table.join('\n'));
    assert.ok(table.some((line) => line.endsWith(' 12.5000 USD')) && table.some((line) => line.endsWith('  0.0625 USD')), table.join('\n'));
  }
});

test('help of each command says what it does and shows an example', async () => {
  const main = await succeeds(cli(['--help']));
  assert.match(main, /Examples:/);
  const commands = [...main.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map((match) => match[1]).filter((name) => name !== 'stoker');
  for (const name of ['serve', 'demo', 'check', 'doctor', 'version', 'ps', 'events', 'decisions', 'logs', 'warm', 'stop', 'run', 'requests', 'usage']) {
    assert.ok(commands.includes(name), name);
  }
  for (const name of commands) {
    const help = await succeeds(cli([name, '--help']));
    assert.match(help, new RegExp(`Examples?:\n +stoker ${name}`), name);
  }
});

/// Starts a command that goes on; gives the output so far, and how to end it.
function following(t, args) {
  const child = spawn(path.join(bin, 'stoker'), args, { env: { ...process.env, ...clean }, stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  const follower = { output: '', end: async () => { child.kill('SIGTERM'); await exited; } };
  child.stdout.on('data', (part) => { follower.output += part; });
  t.after(follower.end);
  return follower;
}

test('events -f and logs -f go on as things happen', async (t) => {
  const { stoker, at } = await served(t);
  const events = following(t, ['events', '-f', '--json', ...at]);
  const table = following(t, ['events', '-f', '--deployment', 'e', ...at]);
  await stoker.chat('e');
  await until('both saw it', () => events.output.includes('"instance_ready"') && table.output.includes('instance_ready'));
  assert.ok(events.output.trim().split('\n').every((line) => JSON.parse(line).sequence > 0));
  const logs = following(t, ['logs', 'e', '-f', ...at]);
  const silent = await cli(['logs', 'e', ...at], { env: clean });
  assert.deepEqual(silent, { code: 0, stdout: '', stderr: '(e wrote nothing)\n' });
  await stoker.call('/api/v1/stop/e', { method: 'POST' });
  await until('it stopped', () => events.output.includes('"instance_gone"'));
  await Promise.all([events.end(), table.end(), logs.end()]);
});

test('run streams an answer; warm and stop do what they say', async (t) => {
  const { stoker, run, at } = await served(t, { e: echo({ tokens: 30, token_delay: '30ms', load_time: '300ms' }) });
  await succeeds(run('warm', 'e'));
  assert.equal((await stoker.deployment('e')).ready_instances, 1);
  const running = following(t, ['run', 'e', 'an owl and a bear', ...at]);
  await until('the first words are there while the rest is awaited', async () => running.output.includes('owl') && (await stoker.deployment('e')).running === 1);
  await until('it is whole', () => running.output.endsWith('\n'));
  assert.equal(running.output.trim().split(/\s+/).length, 30);
  const whole = JSON.parse(await succeeds(run('run', 'e', 'an owl', '--json', '--max-tokens', '3')));
  assert.equal(whole.usage.completion_tokens, 3);
  await succeeds(run('stop', 'e'));
  await until('it is gone', async () => (await stoker.instances('e')).length === 0);
  await succeeds(run('warm', 'e', '--no-wait'));
  await until('it comes up', async () => (await stoker.instances('e')).length === 1);
});

test('warm waits for a place behind an instance that drains, and gives up where none can come', async (t) => {
  const { stoker, run } = await served(t, {
    e: echo({ tokens: 40, token_delay: '20ms' }, { autoscaling: { max_instances: 1 } }),
    huge: echo({ memory: '1000GiB' }),
  });
  const { res } = await stoker.stream('e');
  const text = readAll(res);
  await succeeds(run('stop', 'e'));
  assert.equal((await stoker.instances('e'))[0].state, 'draining');
  await succeeds(run('warm', 'e'));
  assert.match(await text, /\[DONE\]/, 'the drain let the stream end');
  assert.deepEqual((await stoker.instances('e')).filter((i) => i.state === 'ready').map((i) => i.instance), ['e/2']);
  // One text wherever a deployment that can never run is met.
  const never = /'huge' needs 1000\.\d GiB and no device of a kind that it can run on has so much in all/;
  for (const args of [['warm', 'huge'], ['run', 'huge', 'hello']]) {
    const refused = await run(...args);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, never);
  }
  assert.match((await stoker.chat('huge')).json.error.message, never);
  const ps = await succeeds(run('ps'));
  assert.match(ps, /^huge .* never fits$/m);
  assert.match(ps, never);
});

test('--url, STOKER_URL, --config and STOKER_CONFIG find the server and its key', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-cli-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const stoker = await Stoker.start(t, { listen: `unix:${folder}/api.sock`, deployments: { e: echo({ tokens: 2 }) } }).catch((error) => error);
  assert.ok(stoker instanceof Stoker, String(stoker));
  const socket = `unix:${folder}/api.sock`;
  const ways = [
    [['--config', stoker.configFile], {}],
    [[], { STOKER_CONFIG: stoker.configFile }],
    [['--url', socket, '--config', stoker.configFile], {}],
    [['--url', socket], { STOKER_CONFIG: stoker.configFile }],
    [[], { STOKER_URL: socket, STOKER_CONFIG: stoker.configFile }],
    [['--url', socket], { STOKER_API_KEY: stoker.key }],
    [[], { STOKER_URL: socket, STOKER_API_KEY: stoker.key }],
  ];
  for (const [args, env] of ways) {
    const { code, stdout, stderr } = await cli(['ps', '--json', ...args], { env: { ...clean, ...env } });
    assert.equal(code, 0, `${args} ${Object.keys(env)}: ${stderr}`);
    assert.equal(JSON.parse(stdout).deployments[0].name, 'e');
  }
  const wrong = await cli(['ps', '--url', socket], { env: { ...clean, STOKER_API_KEY: 'wrong' } });
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /error: .*key[^]*fix: set STOKER_API_KEY/);
});

test('exit codes: 0 done, 1 failed, 2 wrong usage', async (t) => {
  const { stoker, run } = await served(t, { e: echo(), broken: echo({ faults: { load_failed: 'model_broken' } }) });
  assert.equal((await run('stop', 'nobody')).code, 1);
  const broken = await run('run', 'broken', 'hello');
  assert.equal(broken.code, 1);
  assert.match(broken.stderr, /error: .*could not be loaded/);
  assert.equal((await run('warm', 'broken')).code, 1);
  assert.equal((await run('requests', 'req-0000000000000000')).code, 1);
  assert.equal((await cli(['ps', '--url', 'http://127.0.0.1:1'], { env: clean })).code, 1);
  assert.equal((await cli(['ps', '--bogus'])).code, 2);
  assert.equal((await cli([])).code, 2);
  assert.equal((await cli(['nonsense'])).code, 2);
  assert.equal((await run('usage', '--by', 'moon')).code, 2);
  const file = path.join(stoker.folder, 'wrong.yaml');
  fs.writeFileSync(file, 'listen: 127.0.0.1:0\ndeployments:\n  e: {runtime: echo, concurency: 2}\n');
  for (const args of [['check', file], ['serve', '--config', file]]) {
    const { code, stderr } = await cli(args, { env: clean });
    assert.equal(code, 2);
    assert.match(stderr, /wrong\.yaml:3:\d+: deployments\.e\.concurency: .*concurrency/);
  }
  // The state directory is taken: that is a failure, not a wrong word.
  assert.equal((await cli(['serve', '--config', stoker.configFile], { env: clean })).code, 1);
});

test('words that are no command, and options before one', async (t) => {
  for (const args of [['--version'], ['-v'], ['version']]) {
    assert.match(await succeeds(cli(args)), /^stoker \d+\.\d+\.\d+ \(worker contract 1\)\n$/);
  }
  assert.match(await succeeds(cli(['help'])), /Examples:/);
  assert.match(await succeeds(cli(['help', 'run'])), /stoker run chat/);
  for (const args of [['pss'], ['help', 'pss']]) {
    const { code, stderr } = await cli(args);
    assert.equal(code, 2);
    assert.match(stderr, /there is no command 'pss'[^]*did you mean `stoker ps`/);
  }
  assert.match((await cli(['nonsense'])).stderr, /there is no command 'nonsense'[^]*stoker help/);
  assert.match((await cli([])).stderr, /Usage|USAGE|stoker \[OPTIONS\]/);
  const { stoker } = await served(t);
  const ps = await succeeds(cli(['--url', stoker.url, `--config=${stoker.configFile}`, '--json', 'ps'], { env: clean }));
  assert.equal(JSON.parse(ps).deployments[0].name, 'e');
});

test('with --json a failure is JSON too', async (t) => {
  const { stoker, run } = await served(t);
  const wrong = path.join(stoker.folder, 'wrong.yaml');
  fs.writeFileSync(wrong, 'deployments: {e: {runtime: echo, concurency: 2}}\n');
  const cases = [
    [cli(['ps', '--json', '--url', 'http://127.0.0.1:1'], { env: clean }), 1, 'unavailable', /no server answers/],
    [cli(['ps', '--json', '--url', stoker.url], { env: { ...clean, STOKER_API_KEY: 'wrong' } }), 1, 'invalid', /key/],
    [cli(['ps', '--json', '--config', wrong], { env: clean }), 2, 'invalid', /cannot be read: .*concurency/],
    [run('usage', '--json', '--deployment', 'nosuch'), 1, 'not_found', /nosuch/],
  ];
  for (const [result, code, kind, message] of cases) {
    const got = await result;
    assert.equal(got.code, code);
    assert.equal(got.stderr, '');
    const { error } = JSON.parse(got.stdout);
    assert.equal(error.code, kind);
    assert.match(error.message, message);
  }
  const plain = await cli(['ps', '--config', wrong], { env: clean });
  assert.ok(!plain.stderr.includes('nothing was started'), plain.stderr);
});

test('names that do not exist are said to, and aliases work everywhere', async (t) => {
  const { stoker, run, at } = await served(t, { voice: echo({ tokens: 2 }, { aliases: ['org/voice'] }), other: echo() });
  for (const args of [['requests'], ['usage'], ['events'], ['events', '-f'], ['logs'], ['warm'], ['stop']]) {
    const named = ['logs', 'warm', 'stop'].includes(args[0]) ? ['voicee'] : ['--deployment', 'voicee'];
    const { code, stderr } = await run(...args, ...named);
    assert.equal(code, 1, args.join(' '));
    assert.match(stderr, /there is no deployment 'voicee'; did you mean 'voice'\?/, args.join(' '));
  }
  assert.equal(await succeeds(run('stop', 'voice')), "nothing of 'voice' runs\n");
  const warm = JSON.parse(await succeeds(run('warm', 'org/voice', '--json')));
  assert.deepEqual(warm.deployments.map((d) => d.name), ['voice']);
  assert.deepEqual(warm.instances.map((i) => i.instance), ['voice/1']);
  assert.equal((await cli(['logs', 'org/voice', ...at], { env: clean })).code, 0);
  assert.match(await succeeds(run('events', '--deployment', 'org/voice')), /instance_ready/);
  assert.equal(await succeeds(run('requests', '--deployment', 'voice', '--json')), '{"requests":[]}\n');
  assert.equal(await succeeds(run('stop', 'org/voice')), 'stopping voice/1\n');
  assert.equal((await run('requests', '-n', '0')).code, 2);
  assert.deepEqual((await stoker.call('/api/v1/requests?limit=0')).json.requests, []);
});

test('a crash that was replaced leaves a healthy deployment; its end is a warning', async (t) => {
  const { stoker, run } = await served(t, { e: echo({}, { autoscaling: { min_instances: 1, max_instances: 1 } }) });
  const first = await stoker.ready('e');
  process.kill(workerOf(stoker, first.instance).pid, 'SIGKILL');
  await until('it was replaced', async () => (await stoker.ready('e')).instance !== first.instance);
  const ps = await succeeds(run('ps'));
  assert.match(ps, /^e +1 .* warm$/m);
  assert.ok(!/next try/.test(ps));
  await stoker.logs(/level=warn event=instance_gone deployment=e instance=e\/1 reason=exited text=".*signal 9/);
});

test('run: a stream that breaks off ends its line and says what to do', async (t) => {
  const { stoker, run } = await served(t, { e: echo({ tokens: 1000, token_delay: '10ms' }) });
  const running = run('run', 'e', 'an owl');
  await until('it runs', async () => (await stoker.deployment('e')).running === 1);
  const instance = (await stoker.ready('e')).instance;
  await new Promise((resolve) => { setTimeout(resolve, 100); });
  process.kill(workerOf(stoker, instance).pid, 'SIGKILL');
  const { code, stdout, stderr } = await running;
  assert.equal(code, 1);
  assert.match(stdout, /owl[^\n]*\n$/);
  assert.match(stderr, /error: the instance e\/1 ended while it ran this request \(signal 9.*\); it may have run in part, and can be sent again/);
});

test('run: Ctrl-C ends the line', async (t) => {
  const { stoker, at } = await served(t, { e: echo({ tokens: 1000, token_delay: '10ms' }) });
  const child = spawn(path.join(bin, 'stoker'), ['run', 'e', 'an owl', ...at], { env: { ...process.env, ...clean }, stdio: ['ignore', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.on('data', (part) => { output += part; });
  const closed = once(child, 'close');
  await until('it speaks', () => output.includes('owl'));
  child.kill('SIGINT');
  assert.deepEqual(await closed, [null, 'SIGINT']);
  assert.match(output, /[^\n]\n$/);
  await until('its request is cancelled', async () => (await stoker.deployment('e')).running === 0);
});

test('run: an engine that does not stream, and one that refuses', { skip: !fs.existsSync('/usr/bin/python3') && 'python3 is missing' }, async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-cli-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const engine = (name, status, type, body) => {
    const script = path.join(folder, `${name}.py`);
    fs.writeFileSync(script, `
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, 'text/plain', b'ok')
    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        self.answer(${status}, '${type}', b'''${body}''')
HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
`);
    return { runtime: 'command', command: ['/usr/bin/python3', '{model}'], model: script };
  };
  const { run, at } = await served(t, {
    whole: engine('whole', 200, 'application/json', '{"choices":[{"message":{"content":"an owl"}}]}'),
    odd: engine('odd', 200, 'application/json', '{"text":1}'),
    refuses: engine('refuses', 501, 'text/html', '<html>no</html>'),
  });
  assert.equal(await succeeds(run('run', 'whole', 'hello')), 'an owl\n');
  const odd = await run('run', 'odd', 'hello');
  assert.equal(odd.code, 1);
  assert.match(odd.stderr, /the engine of 'odd' did not answer as a chat model does \(application\/json\)/);
  await until('the log that is shown has what the engine said of a request', async () => {
    const refused = await run('run', 'refuses', 'hello');
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /error: the engine of 'refuses' answered 501[^]*last lines of its log/);
    return /POST/.test(refused.stderr);
  });
  const log = following(t, ['logs', 'whole', '-f', ...at]);
  await until('what was there is shown', () => (log.output.match(/POST \/v1\/chat\/completions/g) ?? []).length === 1);
  await succeeds(run('run', 'whole', 'hello'));
  await until('what comes is shown', () => (log.output.match(/POST \/v1\/chat\/completions/g) ?? []).length === 2);
});

test('demo shows a cold and a warm request and leaves nothing behind', { skip: !(hasEngines && onnxModel) && 'needs the engines and STOKER_TEST_ONNX_MODEL' }, async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-cli-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const output = await succeeds(cli(['demo', '--chat-model', path.relative('.', chatModel), '--onnx-model', path.relative('.', onnxModel)], { env: { ...clean, TMPDIR: folder } }));
  assert.match(output, /A cold request[^]*A warm request[^]*A streamed request[^]*ONNX[^]*Where the time went[^]*Scale to zero[^]*0 instances, 0\.0/);
  assert.deepEqual(fs.readdirSync(folder), [], 'no folder is left');
  const left = fs.readdirSync('/proc').filter((entry) => {
    try {
      return /^\d+$/.test(entry) && fs.readFileSync(`/proc/${entry}/environ`, 'utf8').split('\0').includes(`TMPDIR=${folder}`);
    } catch {
      return false;  // it ended meanwhile, or is not ours
    }
  });
  assert.deepEqual(left, [], 'no process is left');
});
