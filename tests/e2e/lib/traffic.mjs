// Traces for tests: written, sent to a server, read back from what it recorded.
import fs from 'node:fs';
import path from 'node:path';
import { cli } from './stoker.mjs';

/// A trace of bursts [{at_ms, deployment, requests, gap_ms, input: [from, to], output: [from, to]}];
/// lengths go through their range in steps, so that the same bursts give the same trace.
export function traceOf(bursts) {
  const requests = [];
  for (const { at_ms, deployment, requests: count, gap_ms = 0, input = [5, 40], output = [20, 60] } of bursts) {
    const length = ([from, to], step, i) => from + (i * step) % (to - from + 1);
    for (let i = 0; i < count; ++i) {
      requests.push({
        at_ms: at_ms + i * gap_ms, deployment, stream: i % 2 === 0,
        input_tokens: length(input, 7, i), output_tokens: length(output, 13, i),
      });
    }
  }
  requests.sort((a, b) => a.at_ms - b.at_ms);
  return [{ stoker_trace: 1 }, ...requests].map((line) => JSON.stringify(line)).join('\n') + '\n';
}

/// Sends a trace with `stoker replay --live` and gives what it says.
export async function sendLive(stoker, trace, args = []) {
  const file = path.join(stoker.folder, 'to-send.jsonl');
  fs.writeFileSync(file, trace);
  const answer = await cli(['replay', '--live', file, '--url', stoker.url, '--config', stoker.configFile, '--json', ...args]);
  return { ...answer, json: answer.stdout.startsWith('{') ? JSON.parse(answer.stdout) : undefined };
}

export const trafficFolder = (stoker) => path.join(stoker.folder, 'state/traffic');
export function trafficFiles(stoker) {
  const folder = trafficFolder(stoker);
  return fs.existsSync(folder) ? fs.readdirSync(folder).sort().map((name) => path.join(folder, name)) : [];
}
/// Lines of what was recorded, first lines left out; whole ones only.
export function recorded(stoker) {
  return trafficFiles(stoker).flatMap((file) => fs.readFileSync(file, 'utf8').split('\n').slice(1, -1).map((line) => JSON.parse(line)));
}
