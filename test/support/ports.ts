import { createServer, type Server } from "node:net";

/**
 * Free loopback ports. All are held open until the last one is known, so that they differ; another process could still
 * take one before its user does, so pick them just before use. They lie below the range that the kernel takes for
 * outgoing connections (32768 up), which would be the likeliest thief.
 */
export async function freePorts(count: number, host = "127.0.0.1"): Promise<number[]> {
  const held: Server[] = [];
  const ports: number[] = [];
  try {
    for (let tries = 0; ports.length < count; tries++) {
      if (tries > count * 200) throw new Error(`no ${count} free ports on ${host}`);
      const port = 12_000 + Math.floor(Math.random() * 20_000);
      const server = createServer();
      const free = await new Promise<boolean>((resolve) => {
        server.once("error", () => resolve(false));
        server.listen({ port, host, exclusive: true }, () => resolve(true));
      });
      if (!free) continue;
      held.push(server);
      ports.push(port);
    }
  } finally {
    await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  }
  return ports;
}

export async function freePort(host?: string): Promise<number> {
  const [port] = await freePorts(1, host);
  return port as number;
}
