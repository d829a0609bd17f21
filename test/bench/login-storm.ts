import { randomBytes } from "node:crypto";
import { changeSite } from "../support/clients/node-process.js";
import { RawSftp } from "../support/clients/raw-sftp.js";
import type { Site } from "../support/site.js";
import { timePasswordLogins } from "./ssh-logins.js";

/** What small uploads take, in milliseconds from open to the reply to CLOSE, while nobody logs in and while many do. */
export async function uploadsInLoginStorm(site: Site, logins: number): Promise<{ quiet: number[]; storm: number[] }> {
  const { host, port } = site.endpoints().sftp;
  const { password = "", name = "" } = site.endpoints().accounts[0] ?? {};
  await changeSite(site, (settings) => {
    settings.security = { ...(settings.security as object), passwordCacheSeconds: 0 };
  });
  const session = await RawSftp.connect({ host, port, user: name, password: password ?? "" });
  try {
    const uploads = async (going: () => boolean): Promise<number[]> => {
      const times: number[] = [];
      for (let at = 0; going(); at += 1) {
        const begun = performance.now();
        await session.put(`/storm-${at % 50}`, CONTENT);
        times.push(performance.now() - begun);
      }
      return times;
    };
    const until = performance.now() + QUIET_MS;
    const quiet = await uploads(() => performance.now() < until);
    let over = false;
    const storming = timePasswordLogins({ host, port, username: name, password: password ?? "" }, logins, AT_ONCE);
    const ended = storming.finally(() => {
      over = true;
    });
    const storm = await uploads(() => !over);
    await ended;
    return { quiet, storm };
  } finally {
    await session.end();
  }
}

const CONTENT = randomBytes(4_096);
const QUIET_MS = 5_000;
/** Logins under way. */
export const AT_ONCE = 16;
