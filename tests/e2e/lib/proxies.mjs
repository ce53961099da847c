// Other people's servers for one test: started, waited for, ended with it.
import net from 'node:net';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from './stoker.mjs';

/// Starts `name` and waits until `address` ({path} or {port, host}) takes connections.   Errors: what it said.
export async function startProxy(t, name, args, address) {
  const proxy = spawn(name, args, { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` }, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [proxy.stdout, proxy.stderr]) stream.on('data', (part) => { said += part; });
  let failure;
  proxy.on('error', (error) => { failure = `${error.message}; ./dev test installs it`; });
  proxy.on('exit', (code) => { failure ??= `it ended with ${code}: ${said}`; });
  t.after(async () => {
    if (proxy.exitCode !== null || proxy.pid === undefined) return;
    proxy.kill('SIGTERM');
    await once(proxy, 'exit');
  });
  await until(`${name} listens`, () => {
    if (failure) throw new Error(`${name}: ${failure}`);
    return new Promise((resolve) => {
      const probe = net.connect(address, () => { probe.destroy(); resolve(true); });
      probe.on('error', () => resolve(false));
    });
  });
}

/// A port that was free a moment ago.
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/// The configuration of an nginx that is one process, keeps its files in `folder` and has these servers.
export const nginxConfig = (folder, servers) => `
daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr crit;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  ${servers}
}
`;
export const nginxArguments = (folder, file) => ['-e', 'stderr', '-p', folder, '-c', file];
