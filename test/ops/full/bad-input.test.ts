import assert from "node:assert/strict";
import { createServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { type Outcome, tell } from "../../support/clients/run.js";
import { ComposeSite, docker, NODES } from "../../support/compose.js";
import { freePort } from "../../support/ports.js";

/**
 * What an operator may get wrong: each container that can't work with it says so in one line that names the setting and the
 * mend, doesn't restart in a tight loop, and works by itself once it is mended.
 */

/** Exit code of a container whose settings are wrong: EX_CONFIG of sysexits.h. */
const EX_CONFIG = 78;
/** Two restarts by the engine take longer than this: a tight loop would be done with them in an instant. */
const TWO_RESTARTS_MS = 8_000;

describe("bad input", () => {
  let site: ComposeSite;

  before(async () => {
    site = await ComposeSite.prepare();
    await site.build();
  });
  after(async () => {
    await site?.stop();
  });

  const up = (env: NodeJS.ProcessEnv, ...services: string[]): Promise<Outcome> =>
    site.compose(["up", "--detach", "--wait", "--no-build", ...services], { env });

  /** The lines in which a container says what is wrong; the same one after each restart counts once. */
  async function complaints(service: string, since?: string): Promise<string[]> {
    const lines = (await site.logs(service, since)).split("\n").filter((line) => line !== "" && !/^setup: /.test(line));
    return [...new Set(lines)];
  }

  const WRONG: readonly (readonly [string, string, RegExp])[] = [
    ["LONGSHORE_DRAIN_SECONDS", "soon", /LONGSHORE_DRAIN_SECONDS.*soon.*seconds/],
    ["LONGSHORE_STOP_GRACE", "10s", /LONGSHORE_STOP_GRACE/],
    ["LONGSHORE_NODE_MEMORY", "64m", /LONGSHORE_NODE_MEMORY.*(too little|at least)/],
    ["LONGSHORE_LOG_LEVEL", "loud", /LONGSHORE_LOG_LEVEL.*debug/],
    ["LONGSHORE_NET", "10.1.2", /LONGSHORE_NET.*LONGSHORE_SUBNET/],
  ];
  for (const [name, value, wanted] of WRONG) {
    test(`${name}=${value}: \`up\` ends, and \`setup\` says why`, async () => {
      const ended = await up({ [name]: value });
      assert.notEqual(ended.code, 0, tell(ended));
      const { status, exitCode, restarts } = site.state("setup");
      assert.deepEqual({ status, exitCode, restarts }, { status: "exited", exitCode: EX_CONFIG, restarts: 0 });
      const lines = await complaints("setup");
      assert.equal(lines.length, 1, lines.join("\n"));
      assert.match(lines[0] ?? "", wanted);
      assert.match(lines[0] ?? "", /set it in|give|such as/, "it names the mend");
    });
  }

  test("a port in use: `up` ends and names the port", async () => {
    const port = await freePort();
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(port, "127.0.0.1", resolve));
    try {
      const ended = await up({ LONGSHORE_SFTP_PORT_2: `${port}` });
      assert.notEqual(ended.code, 0, tell(ended));
      assert.match(ended.stderr, new RegExp(`:${port}\\b.*(already|in use)|port ${port}`), tell(ended));
      assert.notEqual(site.state("balancer-2").status, "restarting");
    } finally {
      await new Promise((resolve) => holder.close(resolve));
    }
    await site.up();
  });

  /** Changes something in a volume, as its administrator might have. */
  function inVolume(volume: string, script: string): void {
    const image = docker("inspect", "--format", "{{.Config.Image}}", site.container("node-1"));
    const mount = `${site.project}_${volume}:/volume`;
    docker(
      "run",
      "--rm",
      "--user",
      "0:0",
      "--network",
      "none",
      "--entrypoint",
      "/bin/sh",
      "-v",
      mount,
      image,
      "-ec",
      script,
    );
  }

  const FAULTS: readonly {
    readonly what: string;
    readonly volume: string;
    readonly harm: string;
    readonly mend: string;
    readonly says: RegExp;
  }[] = [
    {
      what: "a secret is missing",
      volume: "secrets-node",
      harm: "mv /volume/admin-token /volume/.kept",
      mend: "mv /volume/.kept /volume/admin-token",
      says: /admin-token is missing: .*docker compose up setup/,
    },
    {
      what: "a secret is readable by everybody",
      volume: "secrets-node",
      harm: "chmod 644 /volume/cluster-key",
      mend: "chmod 600 /volume/cluster-key",
      says: /cluster-key is readable by others.*chmod 600/,
    },
    {
      what: "the storage isn't writable",
      volume: "storage",
      harm: "chown 0:0 /volume",
      mend: "chown 10001:10001 /volume",
      says: /LONGSHORE_STORAGE="storage": .*isn't writable by uid 10001: chown/,
    },
    {
      what: "the node's own volume isn't writable",
      volume: "node-1",
      harm: "chown 0:0 /volume",
      mend: "chown 10001:10001 /volume",
      says: /isn't writable by uid 10001: chown/,
    },
  ];
  for (const { what, volume, harm, mend, says } of FAULTS) {
    test(`${what}: one line, no tight loop, and the node works once it is mended`, async () => {
      inVolume(volume, harm);
      try {
        const since = new Date().toISOString();
        const restarts = site.state("node-1").restarts;
        docker("restart", "--time", "5", site.container("node-1"));
        const begun = performance.now();
        // A manual start sets the engine's count back.
        const from = Math.min(restarts, site.state("node-1").restarts);
        await until("the engine has tried twice again", () => site.state("node-1").restarts >= from + 2, {
          deadlineMs: 60_000,
          everyMs: 100,
        });
        const ms = performance.now() - begun;
        assert.ok(ms > TWO_RESTARTS_MS, `two restarts within ${ms} ms`);
        const lines = (await complaints("node-1", since)).filter((line) => line.startsWith("longshore: "));
        assert.equal(lines.length, 1, lines.join("\n"));
        assert.match(lines[0] ?? "", says);
        // `up` doesn't get past `setup` either, and setup says the same.
        if (volume !== "node-1" && !/missing/.test(what)) {
          const ended = await up({}, "setup");
          await until("setup has ended", () => site.state("setup").status === "exited");
          assert.notEqual(site.state("setup").exitCode, 0, tell(ended));
          assert.equal((await complaints("setup")).at(-1)?.includes("/etc/longshore") || volume === "storage", true);
        }
      } finally {
        inVolume(volume, mend);
      }
      await site.healthy(...NODES);
      await site.nodesAre("ready");
    });
  }
});
