// The Open Inference Protocol with a real model on the ONNX worker: the Silero voice detector.
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { Stoker, echo, hasEngines, onnxModel, request } from './lib/stoker.mjs';

const skip = hasEngines ? !onnxModel && 'STOKER_TEST_ONNX_MODEL is not set' : 'built without engines';
const samples = 512;
const silence = () => [
  { name: 'input', datatype: 'FP32', shape: [1, samples], data: Array(samples).fill(0) },
  { name: 'state', datatype: 'FP32', shape: [2, 1, 128], data: Array(256).fill(0) },
  { name: 'sr', datatype: 'INT64', shape: [], data: [16_000] },
];
const probabilityOf = (answer) => answer.json.outputs.find((output) => output.name === 'output').data[0];

test('metadata, readiness and inference, held while the model loads', { skip }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { voice: { runtime: 'onnx', model: onnxModel } } });
  // Readiness starts nothing; what only the worker knows does.
  assert.equal((await stoker.call('/v2/models/voice/ready')).status, 200);
  assert.deepEqual(await stoker.instances('voice'), []);
  const cold = await stoker.post('/v2/models/voice/infer', { id: 'mine', inputs: silence() });
  assert.equal(cold.status, 200, cold.text);
  assert.equal(cold.headers['x-stoker-start'], 'cold');
  assert.equal(cold.json.model_name, 'voice');
  assert.equal(cold.json.id, 'mine');
  assert.ok(probabilityOf(cold) >= 0 && probabilityOf(cold) < 0.2, 'silence is no voice');
  const row = await stoker.row(cold.headers['x-request-id']);
  assert.equal(row.route, 'infer');
  assert.equal(row.outcome, 'completed');

  const metadata = await stoker.call('/v2/models/voice');
  assert.equal(metadata.headers['x-stoker-start'], 'warm');
  assert.equal(metadata.json.name, 'voice');
  assert.deepEqual(metadata.json.inputs.map((input) => input.name).sort(), ['input', 'sr', 'state']);
  assert.equal((await stoker.call('/v2/health/live')).status, 200);
  assert.equal((await stoker.call('/v2/health/ready')).status, 200);
});

test('the binary extension gives the same answer as JSON', { skip }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { voice: { runtime: 'onnx', model: onnxModel } } });
  const asJson = await stoker.post('/v2/models/voice/infer', { inputs: silence() });
  const input = Buffer.alloc(samples * 4);
  const state = Buffer.alloc(256 * 4);
  const rate = Buffer.alloc(8);
  rate.writeBigInt64LE(16_000n);
  const inputs = silence().map(({ data, ...rest }, i) => ({ ...rest, parameters: { binary_data_size: [input, state, rate][i].length } }));
  const head = Buffer.from(JSON.stringify({ inputs, outputs: [{ name: 'output', parameters: { binary_data: true } }] }));
  const answer = await new Promise((resolve, reject) => {
    const req = http.request(`${stoker.url}/v2/models/voice/infer`, {
      method: 'POST', agent: false,
      headers: { ...stoker.headers, 'content-type': 'application/octet-stream', 'inference-header-content-length': head.length },
    }, (res) => {
      const parts = [];
      res.on('data', (part) => parts.push(part));
      res.on('end', () => resolve({ res, body: Buffer.concat(parts) }));
    });
    req.on('error', reject);
    req.end(Buffer.concat([head, input, state, rate]));
  });
  assert.equal(answer.res.statusCode, 200, answer.body.toString());
  const split = Number(answer.res.headers['inference-header-content-length']);
  assert.ok(split > 0 && split < answer.body.length);
  const described = JSON.parse(answer.body.subarray(0, split)).outputs[0];
  assert.equal(described.parameters.binary_data_size, answer.body.length - split);
  const close = Math.abs(answer.body.readFloatLE(split) - probabilityOf(asJson));
  assert.ok(close < 1e-6, `${close} apart`);
});

test('a model that no device can hold is not ready', async (t) => {
  const stoker = await Stoker.start(t, { deployments: { small: echo(), huge: echo({ memory: '1000GiB' }) } });
  assert.equal((await stoker.call('/v2/models/small/ready')).status, 200);
  assert.equal((await stoker.call('/v2/models/huge/ready')).status, 503);
  const refused = await stoker.post('/v2/models/huge/infer', { inputs: [] });
  assert.equal(refused.status, 503);
  assert.equal(refused.json.code, 'no_capacity');
  assert.deepEqual(await stoker.instances('small'), [], 'asking starts nothing');
});

test('mistakes are answered in the shape of the protocol', { skip }, async (t) => {
  const stoker = await Stoker.start(t, { deployments: { voice: { runtime: 'onnx', model: onnxModel } } });
  const [input, state, sr] = silence();
  const cases = {
    'a wrong shape': [400, 'voice', { inputs: [{ ...input, shape: [1, samples, 1] }, state, sr] }],
    'too little data': [400, 'voice', { inputs: [{ ...input, data: [0, 0] }, state, sr] }],
    'a missing input': [400, 'voice', { inputs: [input, state] }],
    'an unknown input': [400, 'voice', { inputs: [input, state, sr, { ...sr, name: 'volume' }] }],
    'a wrong datatype': [400, 'voice', { inputs: [{ ...input, datatype: 'INT64' }, state, sr] }],
    'an unknown model': [404, 'nobody', { inputs: [] }],
  };
  for (const [what, [status, model, body]] of Object.entries(cases)) {
    const answer = await stoker.post(`/v2/models/${model}/infer`, body);
    assert.equal(answer.status, status, `${what}: ${answer.text}`);
    assert.equal(typeof answer.json.error, 'string', what);
    assert.ok(answer.json.error.length > 5, what);
  }
  const chat = await stoker.chat('voice');
  assert.equal(chat.status, 404, 'no chat on an ONNX model');
  assert.equal(chat.json.error.code, 'route_not_offered');
  const rows = await stoker.ledger('&deployment=voice');
  assert.ok(rows.every((row) => row.usage.output_tokens === 0));
  const after = await stoker.post('/v2/models/voice/infer', { inputs: silence() });
  assert.equal(after.status, 200, 'mistakes of clients harm no instance');
  const withoutKey = await request(`${stoker.url}/v2/models/voice/infer`, { method: 'POST', body: { inputs: [] } });
  assert.equal(withoutKey.status, 401);
});
