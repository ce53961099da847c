// An engine that reuses what it read of a prompt, as vLLM and SGLang do: for every later request with the same prompt and the same
// `cache_salt`, and says so in its usage. It knows its model as `org/served` only. Takes its port as its first argument.
import http from 'node:http';

const read = new Set();

function answer(body) {
  if (body.model !== 'org/served') return { status: 404, value: { error: { message: `no model '${body.model}'` } } };
  const prompt = JSON.stringify([body.cache_salt ?? '', body.prompt ?? body.input ?? body.messages]);
  const cached = read.has(prompt) ? 6 : 0;
  read.add(prompt);
  return { status: 200, value: {
    choices: [{ index: 0, message: { role: 'assistant', content: 'owl' }, text: 'owl', finish_reason: 'stop' }],
    usage: { prompt_tokens: 7, completion_tokens: 1, total_tokens: 8, prompt_tokens_details: { cached_tokens: cached } },
  } };
}

http.createServer((request, response) => {
  let text = '';
  request.on('data', (part) => { text += part; });
  request.on('end', () => {
    const { status, value } = request.method === 'POST' ? answer(JSON.parse(text)) : { status: 200, value: { object: 'list', data: [] } };
    const body = JSON.stringify(value);
    response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': body.length });
    response.end(body);
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
