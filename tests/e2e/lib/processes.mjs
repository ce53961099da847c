// What /proc says of processes, for tests that ask who lives, who died and who was left behind.
// A process is named by pid and start time, so that a recycled pid is never taken for it.
import fs from 'node:fs';
import { until } from './stoker.mjs';

/// {pid, parent, state, started, name} or undefined if there is none.
export function processOf(pid) {
  let stat;
  try { stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8'); } catch { return undefined; }
  const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { pid, name, state: fields[0], parent: Number(fields[1]), started: fields[19] };
}

export function allProcesses() {
  return fs.readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)).map((pid) => processOf(Number(pid))).filter(Boolean);
}

/// All below `pid`, parents before children; bubblewrap's own processes among them.
export function descendants(pid) {
  const all = allProcesses();
  const found = all.filter((one) => one.parent === pid);
  for (const one of found) found.push(...all.filter((child) => child.parent === one.pid));
  return found;
}

/// The worker processes below `pid`, without what the sandbox puts round them.
export const workersBelow = (pid) => descendants(pid).filter((one) => one.name.startsWith('stoker-worker-'));

/// The worker process of an instance ("chat/3"), found by the name in its environment.
export function workerOf(stoker, instance) {
  const found = workersBelow(stoker.process.pid).find((one) => environmentOf(one.pid).includes(`STOKER_INSTANCE=${instance}`));
  if (found === undefined) throw new Error(`no worker process of ${instance}`);
  return found;
}

/// The lines of the environment that a process was started with; none if it is gone.
export function environmentOf(pid) {
  try { return fs.readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0'); } catch { return []; }
}

/// A zombie is not alive, but it is not gone either.
export function isThere(process) {
  return processOf(process.pid)?.started === process.started;
}

export function isZombie(process) {
  const now = processOf(process.pid);
  return now?.started === process.started && now.state === 'Z';
}

export async function gone(processes, ms = 5_000) {
  await until(`${processes.map((one) => `${one.name} ${one.pid}`).join(', ')} gone`,
    () => !processes.some((one) => isThere(one) && !isZombie(one)), ms);
}

const statusBytes = (pid, field) => Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
export const residentBytes = (pid) => statusBytes(pid, 'VmRSS');
/// Without what is mapped from files.
export const ownMemory = (pid) => statusBytes(pid, 'RssAnon');
export const threadCount = (pid) => fs.readdirSync(`/proc/${pid}/task`).length;
export const descriptorCount = (pid) => fs.readdirSync(`/proc/${pid}/fd`).length;
