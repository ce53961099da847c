// Suspend before stop: an instance that idles out gives its device memory back and keeps its process;
// the next request brings the same one back instead of starting a new one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { residentBytes, workerOf } from './lib/processes.mjs';
import { Stoker, echo, until } from './lib/stoker.mjs';

const deployment = (idle = '500ms') =>
  echo({ tokens: 2, memory: '64MiB', load_time: '3s' }, { autoscaling: { max_instances: 1, scale_down_delay: idle, scale_to_zero_delay: idle } });
// Room too for what a sanitizer adds to a process.
const devices = [{ id: 'cpu0', kind: 'cpu', memory: '1GiB' }];

async function instanceIn(stoker, state) {
  return until(`an instance is ${state}`, async () => (await stoker.instances('chat')).find((i) => i.state === state), 15_000);
}

test('an idle instance is suspended, and resumed for the next request', async (t) => {
  const stoker = await Stoker.start(t, { devices, model_store: { host_memory: '1GiB' }, deployments: { chat: deployment('2s') } });
  const cold = await stoker.chat('chat');
  assert.equal(cold.status, 200);
  assert.equal(cold.headers['x-stoker-start'], 'cold');
  const residentOf = ({ instance }) => residentBytes(workerOf(stoker, instance).pid);
  const warm = residentOf(await instanceIn(stoker, 'ready'));
  const suspended = await instanceIn(stoker, 'suspended');
  const resident = residentOf(suspended);
  assert.ok(resident < warm - (48 << 20), `${resident} bytes are resident, ${warm} were: the memory is really let go`);
  const [device] = (await stoker.ps()).devices;
  assert.equal(device.reserved_bytes, 0);
  const back = await stoker.chat('chat');
  assert.equal(back.status, 200);
  assert.equal(back.headers['x-stoker-start'], 'resumed');
  const again = (await stoker.instances('chat'))[0];
  assert.equal(again.instance, suspended.instance);
  const events = (await stoker.events()).map((e) => e.event);
  for (const name of ['instance_suspending', 'instance_suspended', 'instance_resuming', 'instance_resumed']) assert.ok(events.includes(name), name);
  assert.equal(events.filter((name) => name === 'instance_starting').length, 1);
});

test('a suspended instance whose process dies is replaced; without host memory nothing is suspended', async (t) => {
  const stoker = await Stoker.start(t, { devices, model_store: { host_memory: '1GiB' }, deployments: { chat: deployment() } });
  assert.equal((await stoker.chat('chat')).status, 200);
  const suspended = await instanceIn(stoker, 'suspended');
  process.kill(workerOf(stoker, suspended.instance).pid, 'SIGKILL');
  await until('it is gone', async () => (await stoker.instances('chat')).length === 0);
  const anew = await stoker.chat('chat');
  assert.equal(anew.status, 200);
  assert.equal(anew.headers['x-stoker-start'], 'cold');
  const plain = await Stoker.start(t, { devices, deployments: { chat: deployment() } });
  assert.equal((await plain.chat('chat')).status, 200);
  await until('it is stopped', async () => (await plain.instances('chat')).length === 0, 15_000);
  assert.ok(!(await plain.events()).some((e) => e.event === 'instance_suspending'));
});
