import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bytes } from "../../support/clients/content.js";
import { RawSftp } from "../../support/clients/raw-sftp.js";
import { succeeded } from "../../support/clients/run.js";
import { ComposeSite, ROOT } from "../../support/compose.js";

/** From a single node in a container to a site and back, by the steps of docs/howto/promote-and-demote.md. */

const CONTENT = bytes(1_000_000, "compose-promote");

describe("promote and demote in containers", { timeout: 900_000 }, () => {
  let site: ComposeSite;
  let alone: NodeJS.ProcessEnv;
  let hostKeys: unknown;
  let password: string;

  before(async () => {
    site = await ComposeSite.prepare();
    await site.build();
    alone = { COMPOSE_FILE: join(ROOT, "compose/compose.standalone.yaml") };
  });
  after(() => site?.stop());

  const compose = async (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    succeeded(await site.compose(args, { env })).stdout;
  const up = (env: NodeJS.ProcessEnv = {}, ...services: string[]) =>
    compose(["up", "--detach", "--wait", "--no-build", ...services], env);
  const cli = (env: NodeJS.ProcessEnv, ...args: string[]) => compose(["run", "--rm", "--no-TTY", "cli", ...args], env);
  const move = (command: string, ...args: string[]) =>
    compose(["run", "--rm", "--no-deps", "--no-TTY", "--entrypoint", "longshore", "node-1", command, ...args]);

  async function session(): Promise<RawSftp> {
    const port = site.sftpPort("balancer-1");
    return await RawSftp.connect({ host: "127.0.0.1", port, user: "ann", password, deadlineMs: 20_000 });
  }

  /** The same partner, the same file, the same server. */
  async function asBefore(env: NodeJS.ProcessEnv): Promise<void> {
    const doctor = JSON.parse(await cli(env, "doctor", "-o", "json")) as {
      findings: { check: string; seen: string }[];
    };
    const keys = doctor.findings.find(({ check }) => check === "host keys")?.seen.split(",")[0];
    hostKeys ??= keys;
    assert.equal(keys, hostKeys);
    const ann = await session();
    assert.ok((await ann.get("/invoice")).equals(CONTENT));
    await ann.end();
  }

  test("a single node takes a partner's file", async () => {
    await up(alone);
    ({ password } = JSON.parse(await cli(alone, "account", "add", "ann", "-o", "json")) as { password: string });
    const ann = await session();
    await ann.put("/invoice", CONTENT);
    await ann.end();
    await asBefore(alone);
  });

  test("promote: the site of the same project has all of it", async () => {
    await compose(["down"], alone);
    await up({}, "etcd-1", "etcd-2", "etcd-3");
    assert.match(await move("promote", "--dry-run"), /entries would go from .* to etcd/);
    assert.match(await move("promote"), /entries went from .* to etcd: start the site's nodes now/);
    await up();
    await asBefore({});
    assert.equal((await site.nodes()).length, 3);
  });

  test("demote: and so has the single node again", async () => {
    await compose(["stop", "balancer-1", "balancer-2", "node-1", "node-2", "node-3"]);
    assert.match(await move("demote"), /start the single node now/);
    await compose(["down"]);
    await up(alone);
    await asBefore(alone);
  });
});
