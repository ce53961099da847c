// An HTTP server on node's own parser that remembers what reached it. In a test it is a peer, or stands behind a proxy; as
// a program (`node counting_stub.mjs PORT`) it is an engine of Stoker, and tells what it saw on /health?seen.
import http from 'node:http';
import { pathToFileURL } from 'node:url';

/// `seen`: {method, target, body} of each whole request, in order, bodies as latin1; `garbled`: how often a connection brought
/// what node does not take for a request. Both since they were last emptied.
export function countingStub() {
  const stub = { seen: [], garbled: 0 };
  stub.server = http.createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const asked = request.method === 'GET' && /^\/health(\?seen)?$/.exec(request.url);
      if (asked && !asked[1]) return response.end('ok');
      if (asked) {
        const text = JSON.stringify({ seen: stub.seen.splice(0), garbled: stub.garbled });
        stub.garbled = 0;
        return response.end(text);
      }
      stub.seen.push({ method: request.method, target: request.url, body: Buffer.concat(parts).toString('latin1') });
      response.setHeader('Content-Type', 'text/plain');
      return response.end('seen');
    });
  });
  stub.server.on('clientError', (error, socket) => {
    // A peer that goes without having sent anything is no request.
    if (error.code !== 'ECONNRESET') stub.garbled += 1;
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    else socket.destroy();
  });
  return stub;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) countingStub().server.listen(Number(process.argv[2]), '127.0.0.1');
