// A real `stoker serve` for one test: own folder, own port, ended and checked at the end of the test.
// What a test asserts, it asserts through the public API, the ledger, or the worker's own /stats.
import { spawn, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
export const repository = path.resolve(here, '../../..');
export const bin = process.env.STOKER_BIN ?? path.join(repository, 'build/release/bin');
export const chatModel = process.env.STOKER_TEST_MODEL ?? path.join(repository, 'models/tiny-demo-q8_0.gguf');
export const onnxModel = process.env.STOKER_TEST_ONNX_MODEL;
export const hasEngines = fs.existsSync(path.join(bin, 'stoker-worker-llama'));
/// Sanitizers slow everything; deadlines of tests (never of the product) grow by this.
export const patience = Number(process.env.STOKER_TEST_PATIENCE ?? 1);
/// A sanitizer's shadow is many times what it shadows; bounds on memory grow by this.
export const shadow = patience > 1 ? 16 : 1;
/// AddressSanitizer keeps freed memory, 256 MiB of it and what belongs to it: no growth within that says anything.
export const quarantine = patience > 1 ? 320 << 20 : 0;
/// STOKER_TEST_LONG=1: the sizes that a case of the reliability catalogue names; else those that the quick set has time for.
const long = process.env.STOKER_TEST_LONG === '1';
export const sized = ({ quick, full }) => (long ? full : quick);
/// Tests with longer forms: a limit for both.
export const longEnough = 900_000 * patience;
/// A device that holds one model of 110 MiB at a time. Under a sanitizer a worker holds many times
/// what it asks for, so there its slots say so.
export const deviceForOne = () => ({ id: 'cpu0', kind: 'cpu', ...(patience > 1 ? { memory: '8GiB', slots: 1 } : { memory: '200MiB' }) });

/// Waits until `probe()` gives something true and returns it. The only way tests wait for a state
/// that nothing signals; it fails with what was last seen.
export async function until(what, probe, ms = 10_000) {
  const deadline = Date.now() + ms * patience;
  let last;
  for (;;) {
    last = await probe();
    if (last) return last;
    if (Date.now() > deadline) throw new Error(`never came true in ${ms * patience} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/// One HTTP request; works over TCP and Unix sockets. `body` may be an object (sent as JSON).
/// Gives {status, headers, text, json}.
export function request(url, { method = 'GET', headers = {}, body, signal } = {}) {
  const payload = body === undefined ? undefined : typeof body === 'object' && !Buffer.isBuffer(body) ? JSON.stringify(body) : body;
  const all = { ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }), ...headers };
  const options = url.startsWith('unix:')
    ? { socketPath: url.slice(5).split('|')[0], path: url.split('|')[1] ?? '/', method, headers: all, signal, agent: false }
    : { method, headers: all, signal, agent: false };
  return new Promise((resolve, reject) => {
    const done = (res) => {
      const parts = [];
      res.on('data', (part) => parts.push(part));
      res.on('error', reject);
      res.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        let json;
        try { json = JSON.parse(text); } catch { json = undefined; }
        resolve({ status: res.statusCode, headers: res.headers, text, json });
      });
    };
    const req = url.startsWith('unix:') ? http.request(options, done) : http.request(url, options, done);
    req.on('error', reject);
    req.end(payload);
  });
}

/// A streamed POST: gives the response object as soon as its head is there, and how to leave.
export function openStream(url, body, headers = {}) {
  const payload = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const req = http.request(url, {
      method: 'POST', agent: false,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload), ...headers },
    }, (res) => resolve({ req, res, leave: () => req.destroy() }));
    req.on('error', reject);
    req.end(payload);
  });
}

/// Starts a request and does not wait for anything: for clients that leave before the head comes.
export function sendAndKeep(url, body, headers = {}) {
  const payload = JSON.stringify(body);
  const req = http.request(url, {
    method: 'POST', agent: false,
    headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload), ...headers },
  });
  req.on('error', () => {});
  req.end(payload);
  return { req, leave: () => req.destroy() };
}

export class Stoker {
  /// `config` is the configuration as an object; listen and state_dir are filled in.
  /// `program`: another stoker than that of the build, with the workers beside it.
  static async start(t, config, { env = {}, wrap = [], folder, program, args = [] } = {}) {
    const stoker = new Stoker();
    stoker.args = args;
    stoker.program = program ?? path.join(bin, 'stoker');
    stoker.folder = folder ?? fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-e2e-'));
    stoker.ownsFolder = folder === undefined;
    stoker.configFile = path.join(stoker.folder, 'stoker.yaml');
    const whole = { listen: '127.0.0.1:0', state_dir: path.join(stoker.folder, 'state'), threads: 2, ...config };
    fs.writeFileSync(stoker.configFile, JSON.stringify(whole, null, 1));
    t.after(async () => { await stoker.end(); });
    await stoker.launch(env, wrap);
    return stoker;
  }

  async launch(env = {}, wrap = []) {
    const command = [...wrap, this.program, 'serve', '--config', this.configFile, ...this.args];
    this.log = '';
    this.process = spawn(command[0], command.slice(1), { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.exited = once(this.process, 'exit').then(([code, signal]) => ({ code, signal }));
    const outputs = [this.process.stdout, this.process.stderr];
    for (const stream of outputs) stream.on('data', (part) => { this.log += part; });
    this.logEnded = Promise.all(outputs.map((stream) => once(stream, 'close')));
    let gone = false;
    this.exited.then(() => { gone = true; });
    const line = await until('the server listens', () => {
      if (gone) throw new Error(`stoker ended before it listened:\n${this.log}`);
      return /event=server_listening address=(\S+)/.exec(this.log);
    }, 15_000);
    this.url = `http://${line[1]}`;
    this.key = fs.readFileSync(path.join(this.folder, 'state/admin.key'), 'utf8').trim();
  }

  get headers() { return { authorization: `Bearer ${this.key}` }; }

  call(target, options = {}) {
    return request(this.url + target, { ...options, headers: { ...this.headers, ...options.headers } });
  }
  chat(model, options = {}, headers = {}) {
    return this.call('/v1/chat/completions', {
      method: 'POST', headers,
      body: { model, messages: [{ role: 'user', content: 'Tell me a story about an owl.' }], ...options },
    });
  }
  post(target, body, headers = {}) { return this.call(target, { method: 'POST', body, headers }); }
  stream(model, options = {}) {
    return openStream(`${this.url}/v1/chat/completions`,
      { model, stream: true, messages: [{ role: 'user', content: 'Tell me a story about an owl.' }], ...options }, this.headers);
  }
  send(model, options = {}) {
    return sendAndKeep(`${this.url}/v1/chat/completions`,
      { model, messages: [{ role: 'user', content: 'Tell me a story about an owl.' }], ...options }, this.headers);
  }

  async ps() { return (await this.call('/api/v1/ps')).json; }
  async deployment(name) { return (await this.ps()).deployments.find((d) => d.name === name); }
  async instances(name) { return (await this.ps()).instances.filter((i) => i.deployment === name); }
  async ready(name) {
    return until(`${name} is ready`, async () => (await this.instances(name)).find((i) => i.state === 'ready'), 20_000);
  }
  /// The worker's own word, past the gateway.
  async stats(instance) { return (await request(`${instance.endpoint}|/stats`)).json; }
  /// Polls the worker's own count of running requests every 2 ms over one connection until it is
  /// `wanted` (or is what the function `wanted` accepts). Gives {ms, stats}: how long that took from now, and what was read then.
  async activeBecomes(instance, wanted, ms = 10_000) {
    const fits = typeof wanted === 'function' ? wanted : (active) => active === wanted;
    const begun = performance.now();
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    try {
      for (;;) {
        const stats = await new Promise((resolve, reject) => {
          const req = http.get({ socketPath: instance.endpoint.slice('unix:'.length), path: '/stats', agent }, (res) => {
            let text = '';
            res.on('data', (part) => { text += part; });
            res.on('end', () => resolve(JSON.parse(text)));
          });
          req.on('error', reject);
        });
        const took = performance.now() - begun;
        if (fits(stats.active)) return { ms: took, stats };
        if (took > ms * patience) throw new Error(`active is ${stats.active}, not ${typeof wanted === 'function' ? 'as wanted' : wanted}, after ${took} ms`);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    } finally { agent.destroy(); }
  }
  /// Ended requests, newest first, as the ledger has them.
  async ledger(filter = '') { return (await this.call(`/api/v1/requests?limit=10000${filter}`)).json.requests; }
  async row(id) {
    const answer = await until(`${id} is in the ledger`, async () => {
      const got = await this.call(`/api/v1/requests/${id}`);
      return got.status === 200 ? got : undefined;
    });
    return answer.json;
  }
  async events() { return (await this.call('/api/v1/events?limit=4096')).json.events; }

  /// Waits for a line of the log: it may come after what a client has seen of the same thing.
  async logs(pattern) { await until(`the log says ${pattern}`, () => pattern.test(this.log)); }

  signal(name) { this.process.kill(name); }
  async end() {
    if (this.process && this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill('SIGTERM');
      const killer = setTimeout(() => this.process.kill('SIGKILL'), 20_000 * patience);
      await this.exited;
      clearTimeout(killer);
    }
    // For looking into a failure: STOKER_TEST_LOGS=FOLDER keeps each server's log there.
    if (process.env.STOKER_TEST_LOGS) {
      fs.writeFileSync(path.join(process.env.STOKER_TEST_LOGS, `${path.basename(this.folder)}.log`), this.log);
    }
    if (this.ownsFolder) fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

/// Runs the command line; gives {code, stdout, stderr}.
export function cli(args, { env = {}, input } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(path.join(bin, 'stoker'), args, { env: { ...process.env, ...env } });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (part) => { stdout += part; });
    child.stderr.on('data', (part) => { stderr += part; });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
    child.stdin.end(input);
  });
}

/// A key made on the command line, as `stoker keys create` shows it.
export async function makeKey(stoker, ...args) {
  const made = await cli(['keys', 'create', ...args, '--json', '--config', stoker.configFile, '--url', stoker.url]);
  if (made.code !== 0) throw new Error(made.stderr);
  return JSON.parse(made.stdout);
}

/// What curl prints.
export function curl(...args) {
  return new Promise((resolve, reject) => {
    const child = spawn('curl', ['-sS', '--max-time', String(30 * patience), ...args]);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (part) => { stdout += part; });
    child.stderr.on('data', (part) => { stderr += part; });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(stdout) : reject(new Error(`curl ended with ${code}: ${stderr}`))));
  });
}

/// Parses SSE text into its events: {data, comment}.
export function sseEvents(text) {
  return text.split(/\r?\n\r?\n/).filter((block) => block !== '').map((block) => {
    const data = [];
    const comments = [];
    let event;
    for (const line of block.split(/\r?\n/)) {
      if (line.startsWith('data:')) data.push(line.slice(5).trimStart());
      else if (line.startsWith(':')) comments.push(line.slice(1).trimStart());
      else if (line.startsWith('event:')) event = line.slice(6).trimStart();
    }
    return { event, data: data.length ? data.join('\n') : undefined, comment: comments.length ? comments.join('\n') : undefined };
  });
}

export async function readAll(res) {
  let text = '';
  for await (const part of res) text += part;
  return text;
}

export const echo = (options = {}, rest = {}) => ({ runtime: 'echo', options, ...rest });
export const llama = (options = {}, rest = {}) => ({ runtime: 'llama.cpp', model: chatModel, options: { context: 512, ...options }, ...rest });
/// Generates until it is stopped: the context is shifted when it is full.
export const endlessLlama = (options = {}, rest = {}) => llama({ extra_args: ['--context-shift'], ...options }, rest);
/// The same without being asked to in words that the dialect does not have.
export const neverEndingLlama = () => endlessLlama({ extra_args: ['--context-shift', '--ignore-eos'] });
export { execFileSync };
