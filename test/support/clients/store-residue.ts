import { readdirSync } from "node:fs";
import { join } from "node:path";
import { until } from "#lib/testing.js";
import type { Site } from "../site.js";

/** Keys of the site's store below a prefix (relative to the site's own), asked of etcd itself over its JSON gateway. */
export async function storeKeys(site: Site, prefix: string): Promise<string[]> {
  const endpoint = site.endpoints().etcd?.endpoints[0];
  if (endpoint === undefined) throw new Error("this site has no etcd");
  const start = Buffer.from(`/longshore/local/${prefix}`);
  const end = Buffer.from(start);
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  const response = await fetch(`${endpoint}/v3/kv/range`, {
    method: "POST",
    body: JSON.stringify({ key: start.toString("base64"), range_end: end.toString("base64"), keys_only: true }),
    signal: AbortSignal.timeout(5_000),
  });
  if (!response.ok) throw new Error(`etcd answered ${response.status}: ${await response.text()}`);
  const { kvs = [] } = (await response.json()) as { kvs?: { key: string }[] };
  return kvs.map(({ key }) => Buffer.from(key, "base64").toString());
}

/**
 * What lies in the store's own directory on the storage: staging directories, pointers to partials (they lie in a directory
 * for each account and directory, which may stay), notes of closed uploads.
 */
export function stagingResidue(site: Site): string[] {
  const own = join(site.endpoints().storage.path, ".longshore");
  const below = (part: string) => readdirSync(join(own, part)).map((name) => `${part}/${name}`);
  return [...below("ops"), ...below("closed"), ...below("partials").flatMap((directory) => below(directory))];
}

/** Resolves when the store holds no record of an operation and no claim; throws with those that it holds. */
export async function nothingPending(site: Site, deadlineMs = 15_000): Promise<void> {
  await empty("in the store", deadlineMs, async () => [
    ...(await storeKeys(site, "ops/")),
    ...(await storeKeys(site, "names/")),
  ]);
}

/** Resolves when no staging directory, pointer or note is left either. */
export async function nothingLeft(site: Site, deadlineMs = 15_000): Promise<void> {
  await nothingPending(site, deadlineMs);
  await empty("on the storage", deadlineMs, async () => stagingResidue(site));
}

async function empty(where: string, deadlineMs: number, look: () => Promise<string[]>): Promise<void> {
  let left: string[] = [];
  try {
    await until(
      "nothing is left behind",
      async () => {
        left = await look();
        return left.length === 0;
      },
      { deadlineMs, everyMs: 100 },
    );
  } catch (error) {
    throw new Error(`left behind ${where}: ${left.join(", ")}`, { cause: error });
  }
}

/** Records of operations and claims that the store holds for any site, asked by `etcdctl`. */
export async function leftInStore(ctl: (...args: string[]) => Promise<string>): Promise<string[]> {
  const text = await ctl("get", "/longshore/", "--prefix", "--keys-only");
  return text.split("\n").filter((key) => /^\/longshore\/[^/]+\/(?:ops|names)\//.test(key));
}
