// Requests of HTTP/1.1 as bytes, right and wrong ones: a good one, and a list of single changes to it that servers are known
// to disagree about (RELIABILITY.md 2 A). A seeded generator combines them. Text is latin1: one character is one byte.

const body = '{"a":"one two three"}';
const chunk = (text, extension = '') => `${text.length.toString(16)}${extension}\r\n${text}\r\n`;
const chunks = (text = body) => `${chunk(text.slice(0, 7))}${chunk(text.slice(7))}0\r\n\r\n`;

/// A good request, in the parts that changes act on. `lines` and `framing` are whole header lines without their ends.
const good = () => ({
  before: '', method: 'POST', gap: ' ', target: '/invoke/e/x', gap2: ' ', version: 'HTTP/1.1', eol: '\r\n', startEol: undefined,
  host: ['Host: 127.0.0.1'], lines: ['Content-Type: text/plain'], framing: [`Content-Length: ${body.length}`], end: '\r\n', body,
});

/// `auth` lets the request in at Stoker; the others do not look at it.
function bytesOf(parts, auth) {
  const lines = [...parts.host, `Authorization: Bearer ${auth}`, ...parts.lines, ...parts.framing].map((line) => line + parts.eol).join('');
  const start = `${parts.method}${parts.gap}${parts.target}${parts.gap2}${parts.version}${parts.startEol ?? parts.eol}`;
  return Buffer.from(`${parts.before}${start}${lines}${parts.end}${parts.body}`, 'latin1');
}

/// What follows a request on its connection: shows where a server believes that the request ended.
export const sentinel = (auth) => Buffer.from(`GET /invoke/e/sentinel HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${auth}\r\nConnection: close\r\n\r\n`);
export const sentinelTarget = /\/sentinel$/;

const show = (value) => JSON.stringify(value).replaceAll(/[\x7f-\xff]/g, (c) => `\\x${c.charCodeAt(0).toString(16)}`);
const changes = [];
/// A change for each of `values`, named by what it is.
function each(what, values, apply) {
  for (const value of values) changes.push({ name: `${what} ${show(value)}`, kind: what, apply: (parts) => apply(parts, value) });
}

each('method', ['GET', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'post', 'Post', 'P0ST', 'PO ST', 'PO\tST', 'POST\0', '', 'M-SEARCH', 'PROPFIND', 'QUERY', 'FROBNICATE', 'P'.repeat(70), 'CONNECT', 'TRACE', 'PRI',
  "!#$%&'*+-.^_`|~", 'P(ST', 'POST:', '"POST"', 'P\xd6ST', 'GET\r', '/'], (r, value) => { r.method = value; });
each('target', ['/invoke/e/x?a=b', '/invoke/e/x?', '/invoke/e/x?a b', '/invoke/e/x y', '/invoke/e/\tx', '/invoke/e/x#f', '/invoke/e/x?q#f', '/invoke/e/%41', '/invoke/e/%', '/invoke/e/%4', '/invoke/e/%zz', '/invoke/e/%00',
  '/invoke/e/x\0', '/invoke/e/\x01', '/invoke/e/\x7f', '/invoke/e/\x80', '/invoke/e/\xe9', '/invoke/e/\xc3\xa9', '/invoke/e/\xff', '/invoke/e/{x}', '/invoke/e/a|b', '/invoke/e/a^b', '/invoke/e/a`b', '/invoke/e/a"b', '/invoke/e/<x>', '/invoke/e/a\\b',
  '/invoke/e//x', '//invoke/e/x', '/./invoke/e/x', '/invoke/e/./x', '/invoke/e/../e/x', '/invoke/e/%2e%2e/x', '/invoke/e/%2f', '/invoke/e/x;a', '/invoke/e/;', '/invoke/e/..;/x', '/../x', '/invoke/e/a%0d%0ab',
  '', '*', 'x', 'invoke/e/x', '?x', '/', '127.0.0.1', '127.0.0.1:80', 'http://127.0.0.1/invoke/e/x', 'HTTP://127.0.0.1/invoke/e/x', 'http://127.0.0.1', 'http://127.0.0.1?x', 'http://other/invoke/e/x', 'http://u@127.0.0.1/invoke/e/x',
  'http://127.0.0.1:80/invoke/e/x', 'http://127.0.0.1:/invoke/e/x', 'http://127.0.0.1:x/invoke/e/x', 'http:///invoke/e/x', 'http:/invoke/e/x', 'http:invoke/e/x', 'https://127.0.0.1/invoke/e/x', 'ftp://127.0.0.1/invoke/e/x', 'file:///x', 'ws://127.0.0.1/invoke/e/x',
  'http://127.0.0.1\\invoke/e/x', 'http://127.0.0.1/invoke/e/x#f', 'http://[::1]/invoke/e/x', '/invoke/e/http://x/'], (r, value) => { r.target = value; });
each('version', ['HTTP/1.0', 'HTTP/1.2', 'HTTP/1.9', 'HTTP/2.0', 'HTTP/0.9', 'HTTP/3.1', 'http/1.1', 'HtTP/1.1', 'HTTP/1', 'HTTP/1.', 'HTTP/.1', 'HTTP/1.10', 'HTTP/01.1', 'HTTP/1.01', 'HTTP/ 1.1', 'HTTP/1 .1', 'HTTP/1.1 ', 'HTTP/1.1\t', 'HTTP/1.1 x', 'HTTP/1.1\0', 'HTTP/+1.1', 'HTTP/1,1', 'HTTP-1.1', 'HTTPS/1.1', 'ICE/1.0', 'RTSP/1.0', 'HTTP/1.1HTTP/1.1', ''],
  (r, value) => { r.version = value; });
each('blank after the method', ['', '  ', '\t', ' \t', '\v', '\r', '\xa0'], (r, value) => { r.gap = value; });
each('blank before the version', ['', '  ', '\t', '\t ', '\f', '\r', '\xa0'], (r, value) => { r.gap2 = value; });
each('before the request', ['\r\n', '\r\n\r\n', '\n', '\r', ' ', '\t', '\0', '\r\n ', 'x\r\n', '\xef\xbb\xbf', '0\r\n\r\n'], (r, value) => { r.before = value; });
each('every line end', ['\n', '\r', '\r\r\n', ' \r\n', '\n\r', '\t\r\n', '\0\r\n'], (r, value) => { r.eol = value; r.end = value; });
each('end of the start line', ['\n', '\r', '\r\r\n', '\r\n\r\n', '\r\n ', '\n\r\n'], (r, value) => { r.startEol = value; });
each('end of the head', ['\n', '\r', '\r\r\n', '\r\n\n', ' \r\n', '\n\n', ' \r\n\r\n'], (r, value) => { r.end = value; });
each('Host', [[], ['Host:'], ['Host: '], ['Host: 127.0.0.1', 'Host: 127.0.0.1'], ['Host: 127.0.0.1', 'Host: other'], ['Host: 127.0.0.1, other'], ['Host: 127.0.0.1:80'], ['Host: 127.0.0.1:'], ['Host: 127.0.0.1:x'], ['Host: 127.0.0.1:99999'], ['Host: :80'],
  ['Host: a/b'], ['Host: u@127.0.0.1'], ['Host: a b'], ['Host: a\tb'], ['Host: a?b'], ['Host: a#b'], ['Host: [::1'], ['Host: ::1'], ['Host: [::1]'], ['Host: [::1]x'], ['Host: []'], ['Host: [v1.x]'], ['Host: [::1%25lo]'], ['Host: a_b'], ['Host: -'], ['Host: a..b'], ['Host: .'], ['Host: ..'], ['Host: %'], ['Host: %zz'],
  ['Host: \xe9'], ['Host: a\\b'], ['Host: "a"'], ['Host: <a>'], ['Host: {a}'], ['Host: a|b'], ['Host: a;b'], ['Host: a=b'], ["Host: a'b"], ['Host: http://a'], ['hOST: 127.0.0.1'], ['Host:127.0.0.1'], ['Host:\t127.0.0.1\t'], ['Host : 127.0.0.1'], [' Host: 127.0.0.1'], ['Host\t: 127.0.0.1'], ['Host: 127.0.0.1\0'], ['Host\0: 127.0.0.1']],
(r, value) => { r.host = value; });
each('field', [['X-A: b'], ['X-A:'], ['X-A: '], ['X-A:\t'], ['X-A:b'], ['X-A:  b  '], ['X-A : b'], ['X-A\t: b'], [' X-A: b'], ['\tX-A: b'], ['X-A'], ['X-A b'], [': b'], [':'], [' : b'], ['X A: b'], ['X-A: b', ' c'], ['X-A: b', '\tc'], ['X-A: b', ' '], ['X-A:', ' b'], ['X-A: b', ' Content-Length: 1'],
  ['X_A: b'], ['X-A: \xe9'], ['X-A: "b'], ['X-A: b\rc'], ['X-A: b\nc'], ['X-A: b\nX-C: d'], ['X-A: b\n c'], ['X-A\n: b'], ['X-A\r: b'], ['X-A: b\r'], ['X-A: \rb'], ['X-A: b', 'X-A: c'], ['x-a: b', 'X-A: c'], ['X-A\x80: b'], ['X-A: b\x80'], ['X-A: b\x7f'], ['\xa0X-A: b'], ['X-A\xa0: b'], ['"X-A": b'], ['(X): b'], ['{X}: b'], ['X=A: b'], ['X@A: b'], ['X,A: b'],
  ['Content_Length: 1'], ['Content-Length\u00a0: 1'], ['Cookie: a', 'Cookie: b'], ['Date: never'], ['Trailer: X-A'], ['TE: trailers'], ['TE: x'], ['Via: x'], ['X-Forwarded-For: \x01'], ['Max-Forwards: 0'], ['Content-Encoding: gzip'], ['Range: bytes=x']],
(r, value) => { r.lines.push(...value); });
const controls = [...Array(0x21).keys(), 0x22, 0x28, 0x29, 0x2c, 0x2f, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x40, 0x5b, 0x5c, 0x5d, 0x7b, 0x7d, 0x7f, 0x80, 0xa0, 0xff].filter((code) => code !== 10);
each('byte in a name', controls.map((code) => String.fromCharCode(code)), (r, value) => { r.lines.push(`X-${value}A: b`); });
each('byte in a value', controls.map((code) => String.fromCharCode(code)), (r, value) => { r.lines.push(`X-A: b${value}c`); });
each('byte in the target', controls.map((code) => String.fromCharCode(code)), (r, value) => { r.target = `/invoke/e/a${value}b`; });
const lengths = ['0', '1', '020', '+21', '-21', '-0', '0x15', '21 ', ' 21', '\t21', '21\t', '2 1', '2_1', '21,21', '21, 21', '21,', ',21', '', ' ', '\v21', '21\0', '\x0021', '21;', '21.0', '1e1', '"21"', 'x', '21x', '000000000000000000000000021', '18446744073709551637', '9223372036854775829', '4294967317', '99999999999999999999999999', '\xb2\xb9', '21\r', '2\r1', '21\x0b', '21\xa0', '22', '20', '2100'];
each('Content-Length', lengths, (r, value) => { r.framing = [`Content-Length: ${value}`]; });
each('two Content-Length', [['21', '21'], ['21', '5'], ['5', '21'], ['21', ''], ['', '21'], ['0', '21'], ['21', '0'], ['21', '021']], (r, value) => { r.framing = value.map((one) => `Content-Length: ${one}`); });
each('no body and framing', [[], ['Content-Length: 0'], ['Content-Length: 00'], ['Content-Length: -0'], ['Content-Length:']], (r, value) => { r.framing = value; r.body = ''; });
each('a body without framing', [['POST'], ['GET']], (r, [method]) => { r.method = method; r.framing = []; });
each('spelling of Content-Length', ['content-length: 21', 'CONTENT-LENGTH: 21', 'Content-Length:21', 'Content-Length:  21', 'Content-Length : 21', 'Content-Length\t: 21', ' Content-Length: 21', 'Content-Length 21', 'Content-Length: 21\r\n ', 'Content-Length:\r\n 21', 'Content-Length: 2\r\n 1', 'Content-Length\r\n: 21', 'X: y\nContent-Length: 21', 'X: y\rContent-Length: 21'],
  (r, value) => { r.framing = [value]; });
const codings = ['chunked', 'Chunked', 'CHUNKED', ' chunked ', '\tchunked', 'chunked\t', 'chunked, chunked', 'chunked,chunked', ',chunked', 'chunked,', ', chunked', 'chunked;x', 'chunked;a=b', 'chunked x', 'x chunked', 'xchunked', 'chunkedx', 'identity', 'identity, chunked', 'chunked, identity', 'gzip', 'gzip, chunked', 'chunked, gzip', 'deflate,chunked', '', ' ', '"chunked"', "'chunked'", '\vchunked', '\x0cchunked', '\x00chunked',
  'chunked\0', 'chunked\v', '\xa0chunked', 'chunked\xa0', 'chunk', 'chunke\u0064', 'c hunked', 'trailers', 'chunked\r', 'chun\rked', 'cow', '\x85chunked', '(chunked)', 'chunked()'];
each('Transfer-Encoding', codings, (r, value) => { r.framing = [`Transfer-Encoding: ${value}`]; r.body = chunks(); });
each('two Transfer-Encoding', [['chunked', 'chunked'], ['chunked', 'identity'], ['identity', 'chunked'], ['gzip', 'chunked'], ['chunked', 'gzip'], ['chunked', ''], ['', 'chunked'], ['chunked', 'x'], ['x', 'chunked']], (r, value) => { r.framing = value.map((one) => `Transfer-Encoding: ${one}`); r.body = chunks(); });
each('spelling of Transfer-Encoding', ['transfer-encoding: chunked', 'Transfer-Encoding:chunked', 'Transfer-Encoding : chunked', 'Transfer-Encoding\t: chunked', ' Transfer-Encoding: chunked', 'Transfer-Encoding chunked', 'Transfer_Encoding: chunked', 'Transfer-Encoding:\r\n chunked', 'Transfer-Encoding: chunked\r\n ', 'Transfer-Encoding: chu\r\n nked', 'Transfer-Encoding\r\n: chunked', 'X: y\nTransfer-Encoding: chunked', 'X: y\rTransfer-Encoding: chunked', 'Transfer-Encoding\0: chunked', '\0Transfer-Encoding: chunked'],
  (r, value) => { r.framing = [value]; r.body = chunks(); });
for (const length of ['0', '4', '21', String(chunks().length), 'x', '']) {
  each('both, length first', [length], (r) => { r.framing = [`Content-Length: ${length}`, 'Transfer-Encoding: chunked']; r.body = chunks(); });
  each('both, coding first', [length], (r) => { r.framing = ['Transfer-Encoding: chunked', `Content-Length: ${length}`]; r.body = chunks(); });
}
each('both, coding disguised', ['Transfer-Encoding : chunked', 'Transfer-Encoding: xchunked', 'Transfer-Encoding: identity', 'Transfer-Encoding:\vchunked', 'Transfer-Encoding: chunked, identity', 'Transfer_Encoding: chunked', 'X: y\nTransfer-Encoding: chunked', ' Transfer-Encoding: chunked', 'Transfer-Encoding:'],
  (r, value) => { r.framing = [`Content-Length: ${chunks().length}`, value]; r.body = chunks(); });
each('HTTP/1.0 with', ['Transfer-Encoding: chunked', 'Content-Length: 21', 'Connection: keep-alive', 'Expect: 100-continue'], (r, value) => { r.version = 'HTTP/1.0'; if (value.startsWith('T')) { r.framing = [value]; r.body = chunks(); } else if (!value.startsWith('Content')) r.lines.push(value); });
const sizes = ['15', '015', '00000000000000000015', '0000000000000015', '0x15', '+15', '-15', ' 15', '15 ', '15\t', '\t15', '', 'g', '15g', '15,', '15;', '15;a', '15;a=b', '15;a="b c"', '15;a="\\""', '15 ;a', '15; a', '15;\ta', '15;a\0b', '15;a\rb', '15;a\nb', '15;a="\r\n"', '15;a\x80', '15;a\x7f', '15;;', '15;=b', '15;a=', '15;"', '15\0', '15\v', '15\r', '1 5', '1_5', '100000015', '10000000000000015', '8000000000000015', 'ffffffffffffffff', 'fffffffffffffffff', '14', '16', '15a', '2'];
each('chunk size', sizes, (r, value) => { r.framing = ['Transfer-Encoding: chunked']; r.body = `${value}\r\n${body}\r\n0\r\n\r\n`; });
each('last chunk', ['0', '00', '000000', '-0', '+0', '0x0', '0 ', ' 0', '0;a', '0;a=b', '0\t', '', '0\0'], (r, value) => { r.framing = ['Transfer-Encoding: chunked']; r.body = `${chunk(body)}${value}\r\n\r\n`; });
each('chunk line ends', [[ '\n', '\r\n', '\r\n', '\r\n'], ['\r\n', '\n', '\r\n', '\r\n'], ['\r\n', '\r\n', '\n', '\r\n'], ['\r\n', '\r\n', '\r\n', '\n'], ['\n', '\n', '\n', '\n'], ['\r', '\r\n', '\r\n', '\r\n'], ['\r\n', '', '\r\n', '\r\n'], ['\r\n', '\r\n\r\n', '\r\n', '\r\n'], ['\r\r\n', '\r\n', '\r\n', '\r\n'], ['\r\n', '\r', '\r\n', '\r\n'], ['\r\n', ' \r\n', '\r\n', '\r\n'], ['\r\n', '\r\n', '\r\n', '\r\r\n'], ['\r\n', '\r\n', '\r', '\r\n'], ['\r\n', 'xx', '\r\n', '\r\n']],
  (r, [size, data, last, end]) => { r.framing = ['Transfer-Encoding: chunked']; r.body = `15${size}${body}${data}0${last}${end}`; });
each('trailer', ['X-T: a\r\n', 'X-T: a\r\nX-T: b\r\n', 'X-T : a\r\n', 'X-T\r\n', ': a\r\n', 'X-T: a\n', ' X-T: a\r\n', 'X-T: a\r\n b\r\n', 'X-T: \0\r\n', 'X T: a\r\n', 'X-T: a\rb\r\n', 'X-T:\r\n', 'Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', 'Host: other\r\n', 'X-T: \x80\r\n', 'X\x80: a\r\n', 'GET /invoke/e/smuggled HTTP/1.1\r\n'],
  (r, value) => { r.framing = ['Transfer-Encoding: chunked']; r.body = `${chunk(body)}0\r\n${value}\r\n`; });
each('Expect', ['100-continue', '100-Continue', ' 100-continue ', '100-continue, 100-continue', '100-continue;a', '', 'x', '200-ok', '100 continue', '100-continue\0'], (r, value) => { r.lines.push(`Expect: ${value}`); });
each('two Expect', [['100-continue', '100-continue'], ['100-continue', 'x']], (r, value) => { r.lines.push(...value.map((one) => `Expect: ${one}`)); });
each('Connection', ['close', 'keep-alive', 'close, keep-alive', 'keep-alive, close', 'Close', 'x', '', ',', 'close,', 'content-length', 'transfer-encoding', 'host', 'authorization, content-type', 'close;x', '"close"', 'close\0', 'upgrade', 'te', '(x)', 'a b', 'close\v', '\x80'], (r, value) => { r.lines.push(`Connection: ${value}`); });
each('two Connection', [['close', 'keep-alive'], ['keep-alive', 'close'], ['Content-Length', 'close']], (r, value) => { r.lines.push(...value.map((one) => `Connection: ${one}`)); });
each('Upgrade', ['h2c', 'websocket', 'TLS/1.0', 'x', '', 'websocket, h2c', 'HTTP/2.0'], (r, value) => { r.lines.push(`Upgrade: ${value}`, 'Connection: Upgrade'); });
each('hidden in the body', ['GET /invoke/e/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', '0\r\n\r\nGET /invoke/e/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', '\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n', '\0\xff\x80\r\n'], (r, value) => { r.body = value; r.framing = [`Content-Length: ${value.length}`]; });
each('after the body', ['\r\n', '\n', '\r\n\r\n', '\0', 'x', ' ', 'GET'], (r, value) => { r.body += value; });

const makeCase = (auth, chosen) => {
  const parts = good();
  for (const change of chosen) change.apply(parts);
  return { name: chosen.map((change) => change.name).join(' + ') || 'good', bytes: bytesOf(parts, auth) };
};

/// Each change alone, and the good request.
export const table = (auth) => [makeCase(auth, []), ...changes.map((change) => makeCase(auth, [change]))];

/// `count` requests with two or three changes of different kinds. The same for the same seed.   Source: mulberry32.
export function* generated(auth, seed, count) {
  let state = seed >>> 0;
  const below = (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
  const kinds = [...new Set(changes.map((change) => change.kind))];
  for (let i = 0; i < count; ++i) {
    const chosen = [];
    for (let wanted = 2 + below(2); chosen.length < wanted;) {
      const kind = kinds[below(kinds.length)];
      const ofKind = changes.filter((change) => change.kind === kind);
      if (!chosen.some((change) => change.kind === kind)) chosen.push(ofKind[below(ofKind.length)]);
    }
    yield makeCase(auth, chosen);
  }
}
