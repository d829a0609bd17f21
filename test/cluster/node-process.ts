import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "#lib/testing.js";
import { freePorts } from "../support/ports.js";
import { type Started, start } from "../support/processes.js";

const MAIN = fileURLToPath(new URL("../../services/node/main.js", import.meta.url));

/** Nodes as real processes on loopback, without a balancer before them. */
export class Site {
  readonly directory = mkdtempSync(join(tmpdir(), "longshore-site-"));
  readonly token = randomBytes(24).toString("hex");
  readonly #coordination: unknown;

  constructor(coordination: (directory: string) => unknown) {
    this.#coordination = coordination(this.directory);
    mkdirSync(join(this.directory, "storage"));
    writeFileSync(join(this.directory, "token"), this.token);
    writeFileSync(join(this.directory, "key"), randomBytes(32).toString("base64"));
  }

  async node(name: string, slot: number, more: Record<string, unknown> = {}, moreOfAdmin: object = {}): Promise<Node> {
    const [sftp = 0, admin = 0, agent = 0] = await freePorts(3);
    const at = (port: number) => ({ host: "127.0.0.1", port });
    const settings = {
      site: "test",
      name,
      slot,
      dataDirectory: join(this.directory, name),
      storage: { path: join(this.directory, "storage"), local: true },
      coordination: this.#coordination,
      sftp: at(sftp),
      admin: { ...at(admin), ...moreOfAdmin },
      agent: at(agent),
      adminTokenFile: join(this.directory, "token"),
      clusterKeyFile: join(this.directory, "key"),
      drainMs: 5_000,
      ...more,
    };
    const file = join(this.directory, `${name}.json`);
    writeFileSync(file, JSON.stringify(settings));
    return new Node(name, file, `http://127.0.0.1:${settings.admin.port}`, this.token, settings.agent.port);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export class Node {
  process: Started;

  constructor(
    readonly name: string,
    readonly settings: string,
    readonly url: string,
    readonly token: string,
    readonly agentPort: number,
  ) {
    this.process = this.launch();
  }

  launch(): Started {
    this.process = start(process.execPath, [MAIN, "--config", this.settings], { name: this.name });
    return this.process;
  }

  /** Status and body of an admin request; status 0 where nobody answers. */
  async ask(path: string, request: { method?: string; body?: unknown; headers?: Record<string, string> } = {}) {
    const { method = "GET", body, headers = {} } = request;
    try {
      const response = await fetch(new URL(path, this.url), {
        method,
        headers: {
          authorization: `Bearer ${this.token}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      const json = response.headers.get("content-type")?.includes("json") ? (JSON.parse(text) as unknown) : undefined;
      return {
        status: response.status,
        text,
        body: json as Record<string, unknown>,
        etag: response.headers.get("etag"),
      };
    } catch {
      return { status: 0, text: "", body: {}, etag: null };
    }
  }

  async state(): Promise<unknown> {
    return (await this.ask("/health/ready")).body.state;
  }

  async ready(ms = 30_000): Promise<void> {
    try {
      await until(`${this.name} is ready`, async () => (await this.ask("/health/ready")).status === 200, {
        deadlineMs: ms,
      });
    } catch (error) {
      throw new Error(`${this.name} isn't ready; its log:\n${this.process.output}`, { cause: error });
    }
  }
}
