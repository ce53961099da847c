// A foreign engine that speaks WebSocket (RFC 6455) and no model: it sends back what it gets, frame
// by frame. No dependency. Takes its port as its first argument. /open tells how many are open;
// /refuse answers an upgrade with 403, /flood sends without end, /close closes after the first frame.
import crypto from 'node:crypto';
import http from 'node:http';

const magic = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const opcode = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 };
let open = 0;

function frame(code, payload) {
  const length = payload.length;
  const head = length < 126 ? Buffer.from([0x80 | code, length])
    : length < 65536 ? Buffer.from([0x80 | code, 126, length >> 8, length & 255])
      : Buffer.concat([Buffer.from([0x80 | code, 127]), (() => { const size = Buffer.alloc(8); size.writeBigUInt64BE(BigInt(length)); return size; })()]);
  return Buffer.concat([head, payload]);
}

/// The first whole frame of a client in `bytes`: {code, payload, size}; undefined if there is none.
function parse(bytes) {
  if (bytes.length < 2) return undefined;
  let length = bytes[1] & 127;
  let at = 2;
  if (length === 126) { if (bytes.length < 4) return undefined; length = bytes.readUInt16BE(2); at = 4; }
  else if (length === 127) { if (bytes.length < 10) return undefined; length = Number(bytes.readBigUInt64BE(2)); at = 10; }
  if (bytes.length < at + 4 + length) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length));
  for (let i = 0; i < length; ++i) payload[i] ^= mask[i % 4];
  return { code: bytes[0] & 15, payload, size: at + 4 + length };
}

const server = http.createServer((request, response) => {
  const body = JSON.stringify(request.url === '/open' ? { open } : {});
  response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
  response.end(body);
});
server.on('upgrade', (request, socket, early) => {
  socket.on('error', () => {});  // a client that is gone is no reason to die
  if (request.url === '/refuse') return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}');
  const accept = crypto.createHash('sha1').update(request.headers['sec-websocket-key'] + magic).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nX-Stoker-Usage: input=9,output=9,cached=0,device_ms=9\r\n\r\n`);
  open += 1;
  socket.on('close', () => { open -= 1; });
  const flood = () => { while (socket.write(frame(opcode.binary, Buffer.alloc(65536)))); };
  if (request.url === '/flood') { socket.on('drain', flood); flood(); }
  let bytes = early;
  const take = () => {
    for (let next = parse(bytes); next; next = parse(bytes)) {
      bytes = bytes.subarray(next.size);
      if (next.code === opcode.close || request.url === '/close') return socket.end(frame(opcode.close, next.code === opcode.close ? next.payload : Buffer.from([3, 232])));
      socket.write(frame(next.code === opcode.ping ? opcode.pong : next.code, next.payload));
    }
  };
  socket.on('data', (part) => { bytes = Buffer.concat([bytes, part]); take(); });
  take();
});
server.listen(Number(process.argv[2]), '127.0.0.1');
