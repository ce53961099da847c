// nginx in front of Stoker, with and without its buffers: clients that leave through it (G2 in RELIABILITY.md), and cold starts
// longer than its patience (G8).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import { test } from 'node:test';
import { freePort, nginxArguments, nginxConfig, startProxy } from './lib/proxies.mjs';
import { Stoker, echo, endlessLlama, hasEngines, longEnough, openStream, patience, sized, sseEvents, until } from './lib/stoker.mjs';

const once = { min_instances: 1, max_instances: 1 };

/// An nginx before `stoker`. Gives its URL.
async function nginxBefore(t, stoker, settings) {
  const port = await freePort();
  const folder = fs.mkdtempSync(`${stoker.folder}/nginx-`);
  const file = `${folder}/nginx.conf`;
  fs.writeFileSync(file, nginxConfig(folder, `server {
    listen 127.0.0.1:${port};
    ${settings}
    location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass ${stoker.url}; }
  }`));
  await startProxy(t, 'nginx', nginxArguments(folder, file), { port, host: '127.0.0.1' });
  return `http://127.0.0.1:${port}`;
}

const buffers = {
  on: 'proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;',  // it would be off for each stream of ours
  'as Stoker asks': '',
  off: 'proxy_buffering off;',
};
const ways = { FIN: (socket) => socket.destroy(), RST: (socket) => socket.resetAndDestroy() };
const kinds = [
  { name: 'echo', deployments: { e: echo({ tokens: 100_000, token_delay: '20ms' }, { autoscaling: once }), late: echo({ prefill_delay: '60s' }, { autoscaling: once }) }, body: {} },
  { name: 'llama.cpp', deployments: { e: endlessLlama({ batch: 8, ubatch: 8 }, { autoscaling: once }) }, body: { ignore_eos: true, max_tokens: 100_000 }, skip: !hasEngines && 'built without engines' },
];
for (const { name, deployments, body, skip } of kinds) {
  test(`${name}: a client that leaves through nginx ends its generation, with buffers and without (G2)`, { skip }, async (t) => {
    const stoker = await Stoker.start(t, { deployments });
    for (const model of Object.keys(deployments)) await stoker.ready(model);
    const said = [];
    for (const [buffering, settings] of Object.entries(buffers)) {
      const url = new URL(await nginxBefore(t, stoker, settings));
      for (const [way, leave] of Object.entries(ways)) {
        for (const model of Object.keys(deployments)) {
          const instance = await stoker.ready(model);
          const before = (await stoker.stats(instance)).tokens;
          const known = (await stoker.ledger()).length;
          const payload = JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: 'owl' }], ...body });
          const socket = net.connect(Number(url.port), url.hostname);
          socket.on('error', () => {});
          let received = 0;
          socket.on('data', ({ length }) => { received += length; });
          socket.write(`POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${stoker.key}\r\nContent-Type: application/json\r\nContent-Length: ${payload.length}\r\n\r\n${payload}`);
          await stoker.activeBecomes(instance, 1);
          // With nginx's buffers tokens may be made and not come; llama.cpp counts those of a request at its end.
          if (model === 'e') await until('tokens are made', async () => received > 0 || (await stoker.stats(instance)).tokens > before + 2);
          leave(socket);
          const { ms, stats } = await stoker.activeBecomes(instance, 0);
          const what = `buffers ${buffering}, ${way}, ${model === 'e' ? 'in the middle' : 'before the first token'}`;
          said.push(`${what}: ${ms.toFixed(1)} ms`);
          assert.ok(ms <= 250 * patience, said.at(-1));
          const row = await until('its row', async () => { const rows = await stoker.ledger(); return rows.length > known && rows[0]; });
          assert.equal(row.outcome, 'cancelled', what);
          assert.equal(row.usage.output_tokens, stats.tokens - before, what);
          assert.equal((await stoker.ready(model)).in_flight, 0, what);
        }
      }
    }
    for (const line of said) t.diagnostic(line);
  });
}

test('a cold start longer than nginx waits for a silent server: comments come, and the answer does (G8)', { timeout: longEnough }, async (t) => {
  // 60 s is its default. The short form leaves no room either: the comment that saves it comes after 10 s.
  const { load, silence } = sized({ quick: { load: 13, silence: 12 }, full: { load: 120, silence: 60 } });
  const stoker = await Stoker.start(t, { deployments: { e: echo({ tokens: 3, load_time: `${load}s` }, { limits: { queue_timeout: '5m' }, autoscaling: { max_instances: 1 } }) } });
  const url = await nginxBefore(t, stoker, `proxy_read_timeout ${silence}s;`);
  const begun = performance.now();
  const { res } = await openStream(`${url}/v1/chat/completions`, { model: 'e', stream: true, messages: [{ role: 'user', content: 'owl' }] }, stoker.headers);
  assert.equal(res.statusCode, 200);
  let last = begun;
  let longest = 0;
  let text = '';
  for await (const part of res) {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
    text += part;
  }
  t.diagnostic(`a start of ${load} s, the longest silence was ${(longest / 1000).toFixed(1)} s`);
  assert.ok(performance.now() - begun >= load * 1000, 'it waited for the start');
  assert.ok(longest <= 15_000 * patience, `${longest} ms without a byte`);
  const events = sseEvents(text);
  assert.ok(events.filter(({ comment }) => comment === 'keep-alive').length >= Math.floor(load / 15));
  assert.equal(events.at(-1).data, '[DONE]');
});
