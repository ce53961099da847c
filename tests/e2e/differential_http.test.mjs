// Stoker, nginx, HAProxy and node's own server are sent the same bytes, most of them wrong (A28). Behind each stands the
// same stub. Stoker accepts nothing that two of the others do not, and where it accepts, its engine sees one request, with
// the body that the others see.
//
//   STOKER_DIFFERENTIAL_CASES=N   so many generated requests (default 300)   STOKER_DIFFERENTIAL_SEED=N   other ones
//   STOKER_DIFFERENTIAL_ALL=1     prints every request about which they disagree
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { once } from 'node:events';
import { test } from 'node:test';
import { countingStub } from './lib/counting_stub.mjs';
import { nginxArguments, nginxConfig, startProxy } from './lib/proxies.mjs';
import { generated, sentinel, sentinelTarget, table } from './lib/raw_requests.mjs';
import { Stoker, patience, repository, request } from './lib/stoker.mjs';

const seed = Number(process.env.STOKER_DIFFERENTIAL_SEED ?? 1);
const count = Number(process.env.STOKER_DIFFERENTIAL_CASES ?? 300);

/// The servers, each with what its stub saw since the last call of seen(). All but Stoker listen on Unix sockets.
class Servers {
  static async start(t) {
    const servers = new Servers();
    servers.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-peers-'));
    t.after(() => fs.rmSync(servers.folder, { recursive: true, force: true }));
    servers.all = {
      stoker: await servers.stoker(t),
      nginx: await servers.proxy(t, 'nginx', (folder, socket, stub) => nginxConfig(folder, nginxServers(socket, stub)), (file) => nginxArguments(servers.folder, file)),
      haproxy: await servers.proxy(t, 'haproxy', haproxyConfig, (file) => ['-db', '-f', file]),
      node: await servers.node(t, path.join(servers.folder, 'node')),
    };
    return servers;
  }

  async stoker(t) {
    const stub = path.join(repository, 'tests/e2e/lib/counting_stub.mjs');
    const stoker = await Stoker.start(t, { deployments: { e: {
      runtime: 'command', command: [process.execPath, '{model}', '{port}'], model: stub, health_path: '/health', autoscaling: { min_instances: 1, max_instances: 1 },
    } } });
    const instance = await stoker.ready('e');
    this.key = stoker.key;
    const url = new URL(stoker.url);
    return { address: { host: url.hostname, port: Number(url.port) }, seen: async () => (await request(`${instance.endpoint}|/health?seen`)).json };
  }
  /// As a peer it refuses what it finds garbled; behind a proxy that is what the proxy let through.
  async node(t, socket) {
    const { address, seen } = await this.stub(t, socket);
    return { address, seen: async () => ({ ...await seen(), garbled: 0 }) };
  }
  async stub(t, socket) {
    const stub = countingStub();
    stub.server.listen(socket);
    await once(stub.server, 'listening');
    t.after(() => { stub.server.close(); stub.server.closeAllConnections(); });
    return {
      address: { path: socket },
      seen: async () => { const now = { seen: stub.seen.splice(0), garbled: stub.garbled }; stub.garbled = 0; return now; },
    };
  }
  async proxy(t, name, config, args) {
    const behind = await this.stub(t, path.join(this.folder, `behind-${name}`));
    const socket = path.join(this.folder, name);
    const file = path.join(this.folder, `${name}.conf`);
    fs.writeFileSync(file, config(this.folder, socket, behind.address.path));
    await startProxy(t, name, args(file), { path: socket });
    await behind.seen();
    return { address: { path: socket }, seen: behind.seen };
  }
}

// Both have the whole body before they ask the stub, as Stoker does, and never ask twice.
const nginxServers = (socket, stub) => `
  server {
    listen unix:${socket};
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off;
    location / { proxy_pass http://unix:${stub}:; }
  }
`;
const haproxyConfig = (folder, socket, stub) => `
defaults
  mode http
  option http-buffer-request
  retries 0
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  timeout http-request 60s
frontend f
  bind unix@${socket}
  default_backend b
backend b
  server stub unix@${stub}
`;

/// Sends the bytes and what follows them, and waits until the server closes or has been silent for `silence_ms`: it waits for more.
/// Gives: {statuses, bodies, verdict}: of the final answers, and what the stub saw without what followed.
async function ask(server, bytes, silence_ms) {
  await server.seen();
  const socket = net.connect(server.address);
  let text = '';
  let waits = false;
  socket.setTimeout(silence_ms, () => { waits = true; socket.destroy(); });
  socket.on('data', (part) => { text += part.toString('latin1'); });
  socket.on('error', () => {});  // a reset is an end too
  const closed = new Promise((resolve) => { socket.on('close', resolve); });
  socket.write(bytes);
  await closed;
  const { seen, garbled } = await server.seen();
  const statuses = [...text.matchAll(/HTTP\/1\.[01] ([2-5]\d\d)/g)].map((match) => Number(match[1]));
  const bodies = seen.filter((one) => !sentinelTarget.test(one.target)).map((one) => one.body);
  const accepted = bodies.length > 0 || garbled > 0 || (statuses[0] >= 200 && statuses[0] < 300) || statuses[0] === 404;
  return { statuses, bodies, garbled, accepted, verdict: accepted ? `accepts ${statuses[0] ?? ''}` : waits ? 'waits' : `refuses ${statuses[0] ?? ''}` };
}

/// What is wrong with how Stoker took the request, as text; nothing: undefined.
function fault({ stoker, ...peers }) {
  if (stoker.garbled > 0) return 'its engine was sent what is no request';
  if (!stoker.accepted) return undefined;
  if (stoker.bodies.length > 1) return `its engine saw ${stoker.bodies.length} requests`;
  const refusing = Object.entries(peers).filter(([, peer]) => !peer.accepted).map(([name]) => name);
  if (refusing.length >= 2) return `it accepts what ${refusing.join(' and ')} do not`;
  for (const [name, peer] of Object.entries(peers)) {
    if (stoker.bodies.length === 1 && peer.bodies.length > 0 && peer.bodies[0] !== stoker.bodies[0]) {
      return `its engine saw the body ${JSON.stringify(stoker.bodies[0])}, that behind ${name} ${JSON.stringify(peer.bodies[0])}`;
    }
  }
  return undefined;
}

async function compare(servers, bytes, silence_ms) {
  const names = Object.keys(servers.all);
  const whole = Buffer.concat([bytes, sentinel(servers.key)]);
  const answers = await Promise.all(names.map((name) => ask(servers.all[name], whole, silence_ms)));
  return Object.fromEntries(names.map((name, i) => [name, answers[i]]));
}

/// Compares all cases; prints how often they agree, and fails with every fault.
async function run(t, servers, cases) {
  const faults = [];
  const patterns = new Map();
  for (const { name, bytes } of cases) {
    let answers = await compare(servers, bytes, 1_000 * patience);
    // A server that was only slow is not one that waits for more.
    if (fault(answers)) answers = await compare(servers, bytes, 30_000 * patience);
    const wrong = fault(answers);
    if (wrong) faults.push(`${name}: ${wrong}\n    ${Object.entries(answers).map(([who, one]) => `${who} ${one.verdict}`).join(', ')}\n    ${JSON.stringify(bytes.toString('latin1').replace(servers.key, 'KEY'))}`);
    const pattern = Object.values(answers).map((one) => one.verdict.split(' ')[0].padEnd(9)).join('');
    patterns.set(pattern, [...(patterns.get(pattern) ?? []), name]);
  }
  t.diagnostic(`${'requests'.padStart(9)}  ${Object.keys(servers.all).map((name) => name.padEnd(9)).join('')}for example`);
  for (const [pattern, names] of [...patterns].sort((a, b) => b[1].length - a[1].length)) {
    const shown = process.env.STOKER_DIFFERENTIAL_ALL ? names.join('\n').replaceAll('\n', `\n${' '.repeat(50)}`) : names[0];
    t.diagnostic(`${String(names.length).padStart(9)}  ${pattern}${shown}`);
  }
  assert.equal(faults.length, 0, `${faults.length} requests\n  ${faults.join('\n  ')}`);
}

test('what Stoker accepts, nginx, HAProxy and node do too (A28)', { timeout: 600_000 * patience }, async (t) => {
  const servers = await Servers.start(t);
  const good = await compare(servers, [...table(servers.key)][0].bytes, 30_000 * patience);
  for (const [name, answer] of Object.entries(good)) assert.deepEqual([answer.verdict, answer.bodies.length, answer.statuses], ['accepts 200', 1, [200, 200]], name);
  await t.test('each change alone', (inner) => run(inner, servers, table(servers.key)));
  await t.test(`${count} combinations, seed ${seed}`, (inner) => run(inner, servers, generated(servers.key, seed, count)));
});
