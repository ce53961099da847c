// Live equals replayed: what a server decided on real workers is decided again from its recorded
// events, byte for byte, also where the CPU's fused multiply-add is masked off.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Stoker, cli, deviceForOne, echo, until } from './lib/stoker.mjs';
import { workerOf } from './lib/processes.mjs';

const masked = { GLIBC_TUNABLES: 'glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2,-AVX512F' };

async function replay(file, env = {}) {
  const { code, stdout, stderr } = await cli(['replay', '--events', file, '--json'], { env });
  assert.equal(code, 0, stdout + stderr);
  return JSON.parse(stdout);
}

test('what a server decided is decided again, byte for byte', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-events-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'events.bin');
  const scaling = { max_instances: 2 };
  const stoker = await Stoker.start(t, {
    devices: [deviceForOne()],
    deployments: {
      a: echo({ tokens: 5, token_delay: '5ms', memory: '110MiB' }, { concurrency: 2, autoscaling: scaling }),
      b: echo({ tokens: 3, load_time: '100ms', memory: '110MiB' }, { autoscaling: scaling, keep_warm: { policy: 'adaptive', min: '0s' } }),
      broken: echo({ faults: { load_failed: 'model_broken' } }),
    },
  }, { args: ['--record-events', file] });
  await Promise.all(Array.from({ length: 20 }, (_, i) => stoker.chat(i % 2 ? 'a' : 'b')));
  await stoker.chat('broken');
  const { res, leave } = await stoker.stream('a', { max_tokens: 1000 });
  res.resume();
  res.on('error', () => {});
  leave();
  const instance = await stoker.ready('a');
  process.kill(workerOf(stoker, instance.instance).pid, 'SIGKILL');
  await until('it is served again', async () => (await stoker.chat('a')).status === 200);
  stoker.signal('SIGTERM');
  assert.deepEqual(await stoker.exited, { code: 0, signal: null });

  const plain = await replay(file);
  assert.equal(plain.identical, true);
  assert.equal(plain.cut_off, false);
  assert.ok(plain.events > 60 && plain.actions > 30, JSON.stringify(plain));
  assert.deepEqual(await replay(file, masked), plain);
  // A core from another compiler: `./dev sim` builds one and names it.
  const other = process.env.STOKER_DECIDE_AGAIN;
  if (other) assert.equal(execFileSync(other, ['events', file], { encoding: 'utf8' }).trim(), plain.action_hash);

  // A recording that was changed is told from one that was not.
  const bytes = fs.readFileSync(file);
  const at = bytes.lastIndexOf('A');
  bytes[at + 2] ^= 1;
  const changed = path.join(folder, 'changed.bin');
  fs.writeFileSync(changed, bytes);
  const { code, stdout } = await cli(['replay', '--events', changed, '--json']);
  assert.equal(code, 1);
  assert.ok(JSON.parse(stdout).identical === false || JSON.parse(stdout).error, stdout);
  const not = await cli(['replay', '--events', stoker.configFile]);
  assert.equal(not.code, 1);
  assert.match(not.stderr, /no recording of events/);
});
