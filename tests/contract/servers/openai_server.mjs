// The same foreign engine as openai_server.py on Node: OpenAI-shaped, no dependency. Takes its port
// as its first argument. Its only health path is /v1/models. Reports usage: in whole answers always,
// in streams where stream_options.include_usage asks for it. A prompt has 7 tokens.
import http from 'node:http';

let running = 0;
const token = 'data: {"choices":[{"index":0,"delta":{"content":"token "}}]}\n\n';

function json(response, value) {
  const body = JSON.stringify(value);
  response.writeHead(200, {'Content-Type': 'application/json', 'Content-Length': body.length});
  response.end(body);
}

function complete(request, response) {
  const count = request.max_tokens ?? 3;
  const usage = {prompt_tokens: 7, completion_tokens: count, total_tokens: 7 + count};
  running += 1;
  response.on('close', () => { running -= 1; });
  if (!request.stream) {
    const message = {role: 'assistant', content: 'token '.repeat(count)};
    setTimeout(() => json(response, {choices: [{index: 0, message}], usage}), count * 10);
    return;
  }
  response.writeHead(200, {'Content-Type': 'text/event-stream'});
  let sent = 0;
  const timer = setInterval(() => {
    if (sent++ < count) return response.write(token);
    clearInterval(timer);
    if (request.stream_options?.include_usage) response.write(`data: ${JSON.stringify({choices: [], usage})}\n\n`);
    response.end('data: [DONE]\n\n');
  }, 10);
  response.on('close', () => clearInterval(timer));
}

const server = http.createServer((request, response) => {
  if (request.url === '/v1/models') return json(response, {object: 'list', data: []});
  if (request.url === '/running') return json(response, {running});
  if (request.method !== 'POST') {
    response.writeHead(404);
    return response.end();
  }
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => {
    if (request.url === '/die') process.exit(Number(body));
    complete(JSON.parse(body), response);
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
