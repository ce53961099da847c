// Self-signed certificates for the tests, by the openssl program.
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';

/// Writes NAME.crt and NAME.key into `folder`.
export function makeCertificate(folder, name) {
  const crt = path.join(folder, `${name}.crt`);
  const key = path.join(folder, `${name}.key`);
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
    '-keyout', key, '-out', crt, '-days', '30', '-subj', `/CN=${name}`,
    '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'], { stdio: 'ignore' });
  fs.chmodSync(key, 0o600);
  return { crt, key };
}

/// Puts a certificate where another is, each file at once.
export function putCertificate(from, to) {
  for (const which of ['crt', 'key']) {
    fs.copyFileSync(from[which], `${to[which]}.new`);
    fs.renameSync(`${to[which]}.new`, to[which]);
  }
}
