/** One value that a key had, as etcd's own history tells. */
export interface KeyVersion {
  readonly value: string;
  readonly modRevision: number;
}

interface Range {
  readonly kvs?: readonly { readonly value?: string; readonly mod_revision: string; readonly version: string }[];
}

/**
 * Every value that a key ever had since it was made last, the oldest first: read from etcd itself over its JSON gateway,
 * revision by revision, so that no code of ours stands between the test and what really happened. Nothing of it may have been
 * compacted yet (`longshore up` keeps ten minutes).
 */
export async function keyVersions(endpoint: string, key: string): Promise<KeyVersion[]> {
  const versions: KeyVersion[] = [];
  for (let revision = 0; ; ) {
    const response = await fetch(`${endpoint}/v3/kv/range`, {
      method: "POST",
      body: JSON.stringify({ key: Buffer.from(key).toString("base64"), ...(revision === 0 ? {} : { revision }) }),
      signal: AbortSignal.timeout(5_000),
    });
    if (!response.ok) throw new Error(`etcd answered ${response.status}: ${await response.text()}`);
    const [kv] = ((await response.json()) as Range).kvs ?? [];
    if (kv === undefined) break;
    const modRevision = Number(kv.mod_revision);
    versions.push({ value: Buffer.from(kv.value ?? "", "base64").toString(), modRevision });
    if (Number(kv.version) === 1) break;
    revision = modRevision - 1;
  }
  return versions.reverse();
}
