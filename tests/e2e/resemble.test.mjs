// Live resembles simulated: a server's recorded traffic, decided again in virtual time by the same
// core, gives the cold starts, the device time and the waits that were really seen. The simulated
// world knows only the configuration and the receipts of an earlier, other run.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stoker, cli, echo, patience, until } from './lib/stoker.mjs';
import { sendLive, traceOf, trafficFolder } from './lib/traffic.mjs';

// Waits are made of loads and of service, hundreds of milliseconds each, so that what two busy
// processors add does not count; and no idle time comes near a delay, which would be a toss-up.
const config = {
  devices: [{ id: 'cpu0', kind: 'cpu', memory: '8GiB', slots: 4 }],
  deployments: {
    one: echo({ tokens: 1000, load_time: '1200ms', prefill_delay: '50ms', token_delay: '10ms' },
      { concurrency: 1, autoscaling: { max_instances: 2, scale_up_threshold: 3, scale_down_delay: '2s' } }),
    two: echo({ tokens: 1000, load_time: '800ms', warmup_time: '100ms', token_delay: '15ms' },
      { concurrency: 2, autoscaling: { max_instances: 3, scale_up_threshold: 2, scale_down_delay: '1500ms' } }),
    many: echo({ tokens: 1000, load_time: '1500ms', token_delay: '10ms' },
      { concurrency: 4, autoscaling: { max_instances: 1, scale_down_delay: '1s' } }),
  },
};

const earlier = traceOf([
  { at_ms: 100, deployment: 'one', requests: 6, gap_ms: 15 },
  { at_ms: 600, deployment: 'two', requests: 8, gap_ms: 20 },
  { at_ms: 900, deployment: 'many', requests: 10, gap_ms: 10 },
]);

const workload = traceOf([
  { at_ms: 0, deployment: 'one', requests: 7, gap_ms: 20, output: [30, 70] },
  { at_ms: 400, deployment: 'many', requests: 12, gap_ms: 15, output: [20, 90] },
  { at_ms: 3000, deployment: 'two', requests: 9, gap_ms: 30 },
  { at_ms: 9000, deployment: 'many', requests: 16, gap_ms: 10 },
  { at_ms: 9200, deployment: 'one', requests: 2, gap_ms: 300 },
  { at_ms: 14500, deployment: 'two', requests: 12, gap_ms: 5, output: [30, 60] },
  { at_ms: 15500, deployment: 'one', requests: 8, gap_ms: 40, output: [20, 50] },
  { at_ms: 21500, deployment: 'many', requests: 20, gap_ms: 25, output: [25, 60] },
  { at_ms: 22000, deployment: 'two', requests: 3, gap_ms: 100 },
  { at_ms: 27500, deployment: 'one', requests: 5, gap_ms: 10 },
  { at_ms: 28500, deployment: 'two', requests: 10, gap_ms: 15 },
]);

/// The longest time for which this process was not run: what stops it stops the server too.
function watchForStalls() {
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last - 20);
    last = now;
  }, 20);
  return () => { clearInterval(timer); return longest; };
}

/// Seconds from the order of each start to the end of its process.
function deviceSeconds(events) {
  const started = new Map();
  let ms = 0;
  for (const { event, instance, at } of events) {
    if (event === 'instance_starting') started.set(instance, Date.parse(at));
    if (event === 'instance_gone') ms += Date.parse(at) - started.get(instance);
  }
  return ms / 1000;
}

/// A server's whole life with one trace; gives what its own receipts and events say.
async function live(t, trace) {
  const stoker = await Stoker.start(t, config);
  const { code, json, stderr } = await sendLive(stoker, trace);
  assert.equal(code, 0, stderr);
  assert.equal(json.ok, trace.split('\n').length - 2);
  await until('all are stopped', async () => (await stoker.ps()).instances.length === 0, 20_000);
  const events = await stoker.events();
  stoker.signal('SIGTERM');
  await stoker.exited;
  return { stoker, events };
}

async function compare(t) {
  const first = await live(t, earlier);
  const stalls = watchForStalls();
  const { stoker, events } = await live(t, workload);
  const stalled = stalls();
  const { code, stdout, stderr } = await cli(['replay', trafficFolder(stoker), '--config', stoker.configFile,
    '--calibrate', trafficFolder(first.stoker), '--json']);
  assert.equal(code, 0, stderr);
  const replay = JSON.parse(stdout);
  const seen = {
    'cold starts': events.filter(({ event }) => event === 'instance_starting').length,
    'device-seconds': deviceSeconds(events),
    ...Object.fromEntries(['p50', 'p95', 'p99'].map((p) => [`wait ${p}, ms`, replay.recorded.wait_ms[p]])),
  };
  const simulated = {
    'cold starts': replay.simulated.cold_starts,
    'device-seconds': replay.device_seconds,
    ...Object.fromEntries(['p50', 'p95', 'p99'].map((p) => [`wait ${p}, ms`, replay.simulated.wait_ms[p]])),
  };
  assert.equal(replay.recorded.completed, replay.simulated.completed);
  return { seen, simulated, stalled };
}

const tolerance = {
  'cold starts': (n) => Math.max(1, 0.03 * n),
  'device-seconds': (n) => 0.03 * n,
  'wait p50, ms': (n) => 0.10 * n,
  'wait p95, ms': (n) => 0.10 * n,
  'wait p99, ms': (n) => 0.20 * n,
};

test('a recorded run resembles its simulation, calibrated on an earlier one', async (t) => {
  for (let attempt = 1; ; ++attempt) {
    const { seen, simulated, stalled } = await compare(t);
    for (const what of Object.keys(tolerance)) {
      const apart = 100 * (simulated[what] / seen[what] - 1);
      t.diagnostic(`${what.padEnd(16)} live ${seen[what].toFixed(1).padStart(8)}  simulated ${simulated[what].toFixed(1).padStart(8)}  ${apart.toFixed(1)} %`);
    }
    // A machine that stood still for a while was no server; what it recorded says nothing.
    if (stalled > 150 && attempt < 4) {
      t.diagnostic(`the machine stood still for ${stalled.toFixed(0)} ms: once more`);
      continue;
    }
    // Under a sanitizer the machine spends its time on that: only whether all goes through counts.
    if (patience > 1) return;
    for (const [what, allowed] of Object.entries(tolerance)) {
      const apart = Math.abs(simulated[what] - seen[what]);
      assert.ok(apart <= allowed(seen[what]), `${what}: live ${seen[what]}, simulated ${simulated[what]}`);
    }
    return;
  }
});
