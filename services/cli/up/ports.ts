import { createServer } from "node:net";
import { systemCode } from "#lib/errors.js";
import { CliError, EXIT } from "../errors.js";
import { LOOPBACK } from "./plan.js";

export interface WantedPort {
  readonly port: number;
  readonly purpose: string;
}

/** The first of these ports that something else listens at, or undefined. */
export async function firstTaken(wanted: readonly WantedPort[]): Promise<WantedPort | undefined> {
  const free = await Promise.all(wanted.map(({ port }) => isFree(port)));
  return wanted.find((_, index) => free[index] === false);
}

export function portTaken({ port, purpose }: WantedPort): CliError {
  return new CliError(
    EXIT.portTaken,
    `port ${port} (${purpose}) is taken on ${LOOPBACK}: stop what listens there (\`ss -ltnp sport = :${port}\` shows it), ` +
      "or choose other ports with --base-port",
  );
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) => {
      if (systemCode(error) === "EADDRINUSE") resolve(false);
      else reject(new CliError(EXIT.portTaken, `port ${port} can't be used: ${error.message}`, error));
    });
    server.listen({ host: LOOPBACK, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
