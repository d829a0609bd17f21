import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import ssh2, { type ConnectConfig } from "ssh2";
import { hashPassword } from "#auth/passwords.js";
import { createVerifier } from "#auth/verifier.js";
import type { Snapshot } from "#config/contract.js";
import { generateHostKey } from "#config/host-keys.js";
import { accountSchema, type SftpSettings, siteSchema } from "#config/schema.js";
import { noEntries } from "#config/snapshot.js";
import { monotonicMs } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Session, Sessions } from "#sessions/contract.js";
import { createListener } from "../net/listener.js";
import { createSftpServer, type SftpServer, type SftpServerOptions } from "./server.js";
import type { startSftpSubsystem } from "./subsystem.js";
import { makeKeyPair } from "./testing-keys.js";

/** What the tests of the SSH layer share: a server on a free port whose subsystem echoes, and no files behind it. */

export const PASSWORD = "secret";

const userKeys = await makeKeyPair();
export const USER_KEY = userKeys.private;

/** Sends every byte back: enough to see that the way both ways is whole. */
export const startEcho: typeof startSftpSubsystem = ({ channel }) => {
  let lastActivity = monotonicMs();
  channel.on("data", () => {
    lastActivity = monotonicMs();
  });
  channel.on("error", () => {});
  channel.pipe(channel);
  return {
    idle: true,
    get lastActivity() {
      return lastActivity;
    },
    openHandles: 0,
    end: () => channel.close(),
  };
};

/** A session of no files; only its beginning and end count here. */
function sessionWithoutFiles(id: string, account: string, clientAddress: string, end: () => Promise<void>): Session {
  const no = () => {
    throw new LongshoreError("unsupported", "no files in this test");
  };
  return {
    id,
    account,
    clientAddress,
    stat: no,
    openDirectory: no,
    open: no,
    remove: no,
    rename: no,
    link: no,
    makeDirectory: no,
    removeDirectory: no,
    setAttributes: no,
    readLink: no,
    realPath: no,
    statVolume: no,
    copy: no,
    end,
  };
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly account?: unknown;
  readonly client?: unknown;
  readonly reason?: unknown;
  readonly detail?: unknown;
}

export interface Bench {
  readonly port: number;
  readonly server: SftpServer;
  readonly lines: LogLine[];
  /** Sessions opened and ended so far. */
  readonly sessions: { opened: number; ended: number };
  readonly logins: string[];
  readonly closed: string[];
  /** Connections that don't count as logged in. */
  unauthenticated(): number;
  /** Changes the configuration, as a new snapshot does. */
  change(change: { sftp?: Partial<SftpSettings>; hostKeys?: readonly string[] }): void;
  /** Makes every later session be refused. */
  refuseSessions(): void;
  /** A raw TCP connection; destroyed after the test. */
  raw(): Promise<Socket>;
  /** Options for an ssh2 client with the right key. */
  readonly config: ConnectConfig;
}

export async function startBench(
  t: TestContext,
  sftp: Partial<SftpSettings> = {},
  options: Partial<SftpServerOptions> = {},
): Promise<Bench> {
  const lines: LogLine[] = [];
  const loggerOf = (fields: object): Logger => {
    const say = (level: string) => (message: string, more?: object) =>
      void lines.push({ level, message, ...fields, ...more });
    return {
      debug: say("debug"),
      info: say("info"),
      warn: say("warn"),
      error: say("error"),
      child: (more) => loggerOf({ ...fields, ...more }),
    };
  };
  const passwordHash = await hashPassword(PASSWORD);
  const publicKeys = [userKeys.public];
  const accounts = [
    { name: "alice", passwordHash, publicKeys },
    { name: "off", enabled: false, passwordHash, publicKeys },
  ];
  const site = { id: "6f2c1a52-6f0b-4b2a-9a57-3a1f3a1f3a1f", name: "test" };
  let snapshot: Snapshot = {
    revision: 1,
    hash: "",
    ...noEntries(),
    site: siteSchema.parse({ ...site, sftp }),
    accounts: new Map(accounts.map((account) => [account.name, accountSchema.parse(account)])),
    administrators: new Map(),
    hostKeys: [await generateHostKey("ed25519"), ssh2.utils.generateKeyPairSync("rsa", { bits: 2048 }).private],
  };
  const config = { snapshot: () => snapshot, onChange: () => () => {} };
  const counts = { opened: 0, ended: 0 };
  let refusing = false;
  const sessions: Sessions = {
    open({ account, clientAddress }) {
      if (refusing) throw new LongshoreError("cut-off", "this node is cut off");
      counts.opened++;
      let open = true;
      return sessionWithoutFiles(`s${counts.opened}`, account, clientAddress, async () => {
        if (open) counts.ended++;
        open = false;
      });
    },
    get count() {
      return counts.opened - counts.ended;
    },
  };
  const logins: string[] = [];
  const closed: string[] = [];
  const observer = {
    connectionOpened() {},
    connectionRefused() {},
    connectionClosed: (reason: string) => void closed.push(reason),
    login: (outcome: string, method: string) => void logins.push(`${outcome} ${method}`),
    batch() {},
  };
  const logger = loggerOf({});
  const verifier = createVerifier({ config });
  const server = createSftpServer({
    config,
    verifier,
    sessions,
    logger,
    observer,
    startSubsystem: startEcho,
    upkeepMs: 25,
    ...options,
  });
  const listener = createListener({
    host: "127.0.0.1",
    port: 0,
    limits: () => snapshot.site.sftp,
    onConnection: server.accept,
    onHealthCheck: server.greet,
    logger,
    observer,
  });
  const { port } = await listener.listen();
  const sockets: Socket[] = [];
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await listener.close();
    await server.close("the test is over");
  });
  return {
    port,
    server,
    lines,
    sessions: counts,
    logins,
    closed,
    unauthenticated: () => listener.unauthenticated,
    change({ sftp: changed, hostKeys }) {
      snapshot = {
        ...snapshot,
        revision: snapshot.revision + 1,
        site: siteSchema.parse({ ...site, sftp: { ...snapshot.site.sftp, ...changed } }),
        hostKeys: hostKeys ?? snapshot.hostKeys,
      };
    },
    refuseSessions() {
      refusing = true;
    },
    async raw() {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {});
      sockets.push(socket);
      await once(socket, "connect");
      return socket;
    },
    config: { host: "127.0.0.1", port, username: "alice", privateKey: USER_KEY },
  };
}

/** An ssh2 client, logged in; ended after the test. Rejects where it isn't let in. */
export async function logIn(t: TestContext, config: ConnectConfig): Promise<ssh2.Client> {
  const client = new ssh2.Client();
  t.after(() => client.destroy());
  await new Promise<void>((resolve, reject) => {
    client.once("ready", resolve);
    client.once("error", reject);
    client.once("close", () => reject(new Error("closed before the login")));
    client.connect(config);
  });
  client.on("error", () => {});
  return client;
}

/** The channel of the (echoing) sftp subsystem, flowing: a channel that isn't read never tells of its end. */
export function openSubsystem(client: ssh2.Client, name = "sftp"): Promise<ssh2.ClientChannel> {
  return new Promise((resolve, reject) => {
    client.subsys(name, (error, channel) => (error === undefined ? resolve(channel.resume()) : reject(error)));
  });
}

/** The line that every connection ends with. */
export function endLine(bench: Bench): LogLine | undefined {
  return bench.lines.find((line) => line.message === "connection ended");
}
