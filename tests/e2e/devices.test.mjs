// Where instances go by what their deployment asks of devices: several at once, a promised share, a
// device for itself, labels. On several cpu devices, which are parts of one machine's memory.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Stoker, cli, echo, until } from './lib/stoker.mjs';

const cpu = (id, rest = {}) => ({ id, kind: 'cpu', memory: '8GiB', slots: 8, ...rest });
const kept = (resources, rest = {}) => ({ resources, keep_warm: { policy: 'fixed', max: '10 minutes' }, ...rest });

test('labels, several devices and a device for itself decide where instances go', async (t) => {
  const stoker = await Stoker.start(t, {
    devices: [cpu('a', { labels: { zone: 'near' } }), cpu('b', { labels: { zone: 'near', disk: 'fast' } }), cpu('c')],
    deployments: {
      near: echo({ tokens: 1 }, kept({ labels: { disk: 'fast' } })),
      both: echo({ tokens: 1 }, kept({ devices: 2, labels: { zone: 'near' } })),
      alone: echo({ tokens: 1 }, kept({ exclusive: true })),
      half: echo({ tokens: 1 }, kept({ share: '60%', labels: { zone: 'near' } },
        { concurrency: 1, autoscaling: { min_instances: 2, max_instances: 3 } })),
    },
  });
  const devicesOf = async (name) => (await stoker.instances(name)).map((i) => i.devices);
  await until('two shares of 60%', async () =>
    (await stoker.instances('half')).filter((i) => i.state === 'ready').length === 2, 20_000);
  assert.deepEqual((await devicesOf('half')).map(String).sort(), ['a', 'b'], 'two shares of 60% are no device');

  assert.equal((await stoker.chat('near')).status, 200);
  assert.deepEqual(await devicesOf('near'), [['b']]);
  const answer = await stoker.chat('both');
  assert.equal(answer.status, 200);
  assert.deepEqual(await devicesOf('both'), [['a', 'b']]);
  const row = await stoker.row(answer.headers['x-request-id']);
  assert.equal(row.device, 'a,b');
  assert.equal((await stoker.chat('alone')).status, 200);
  assert.deepEqual(await devicesOf('alone'), [['c']]);

  const { deployments, devices } = await stoker.ps();
  assert.deepEqual(deployments.find((d) => d.name === 'both').resources,
    { devices: 2, share_percent: 0, exclusive: false, labels: ['zone=near'] });
  assert.equal(deployments.find((d) => d.name === 'half').resources.share_percent, 60);
  assert.equal(deployments.find((d) => d.name === 'alone').resources.exclusive, true);
  assert.equal(devices.find((d) => d.id === 'c').resident_instances, 1, 'nobody joins the one that is alone');
});

test('what no device can give is told before the start, all at once', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stoker-devices-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'stoker.yaml');
  fs.writeFileSync(file, `devices:
  - {id: a, kind: cpu, labels: {zone: near}}
deployments:
  far: {runtime: echo, resources: {labels: {zone: far}}}
  two: {runtime: echo, resources: {devices: 2}}
  share: {runtime: echo, resources: {share: 130%}}
`);
  const { code, stdout, stderr } = await cli(['check', '--config', file]);
  const said = stdout + stderr;
  assert.equal(code, 2, said);
  assert.match(said, /stoker\.yaml:4:\d+: deployments\.far\.resources\.labels\.zone: no device/);
  assert.match(said, /stoker\.yaml:5:\d+: deployments\.two\.resources\.devices: needs 2 devices/);
  assert.match(said, /stoker\.yaml:6:\d+: deployments\.share\.resources\.share: /);
});
