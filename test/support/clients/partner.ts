import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NewAccount } from "../site.js";
import { RawSftp } from "./raw-sftp.js";

/** A key pair for one test process: made once, used by all its partners. */
let keys: { directory: string; privateKeyFile: string; publicKey: string } | undefined;

/** Local directories, removed at the end. */
const works = new Set<string>();

function keyPair(): { privateKeyFile: string; publicKey: string } {
  if (keys === undefined) {
    const directory = mkdtempSync(join(tmpdir(), "longshore-keys-"));
    const privateKeyFile = join(directory, "id_ed25519");
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", privateKeyFile]);
    keys = { directory, privateKeyFile, publicKey: readFileSync(`${privateKeyFile}.pub`, "utf8").trim() };
    process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  }
  return keys;
}

/** What a partner needs of a site, however that was started. */
export interface PartnerSite {
  endpoints(): {
    readonly sftp: { readonly host: string; readonly port: number };
    /** Absent where the test can't look at it. */
    readonly storage?: { readonly path: string } | undefined;
  };
  /** Throws where partners' only way to a node is the balancer. */
  node(index: number): { readonly sftpPort: number };
  /** Resolves when every node knows it. */
  addAccount(name: string, account: NewAccount): Promise<void>;
}

export interface PartnerOptions {
  /** Relative to the storage root; default: the account's name. Two partners may share one. */
  readonly home?: string;
  readonly permissions?: readonly { readonly path: string; readonly allow: readonly string[] }[];
}

/** An account of the site with everything that a client program needs to use it: key, known_hosts, a local directory. */
export class Partner {
  readonly keyFile: string;
  readonly knownHosts: string;
  /** A local directory of its own; what clients send from and fetch into. */
  readonly work: string;

  private constructor(
    private readonly site: PartnerSite,
    readonly name: string,
    readonly password: string,
    readonly home: string,
    privateKeyFile: string,
  ) {
    this.keyFile = privateKeyFile;
    this.work = mkdtempSync(join(tmpdir(), `longshore-${name}-`));
    this.knownHosts = join(this.work, ".known_hosts");
    if (works.size === 0) {
      process.once("exit", () => {
        for (const work of works) rmSync(work, { recursive: true, force: true });
      });
    }
    works.add(this.work);
  }

  /** Adds the account and resolves when every node knows it. */
  static async add(site: PartnerSite, name: string, options: PartnerOptions = {}): Promise<Partner> {
    const { privateKeyFile, publicKey } = keyPair();
    const password = `${name}-Pa55 word`;
    await site.addAccount(name, {
      password,
      publicKeys: [publicKey],
      ...(options.home === undefined ? {} : { home: options.home }),
      ...(options.permissions === undefined
        ? {}
        : { permissions: options.permissions.map(({ path, allow }) => ({ path, allow: [...allow] })) }),
    });
    return new Partner(site, name, password, options.home ?? name, privateKeyFile);
  }

  get host(): string {
    return this.site.endpoints().sftp.host;
  }

  get port(): number {
    return this.site.endpoints().sftp.port;
  }

  /** A local path in the partner's own directory. */
  local(...parts: readonly string[]): string {
    return join(this.work, ...parts);
  }

  /** A fresh local directory. */
  directory(name: string): string {
    const path = this.local(name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Where a file of this account really lies: what a test looks at when it trusts no protocol. */
  stored(...parts: readonly string[]): string {
    const { storage } = this.site.endpoints();
    if (storage === undefined) throw new Error("this site's storage can't be looked at from here");
    return join(storage.path, this.home, ...parts);
  }

  /** A raw session through the balancer. */
  raw(
    options: { readonly port?: number; readonly replyMs?: number; readonly deadlineMs?: number } = {},
  ): Promise<RawSftp> {
    return RawSftp.connect({ host: this.host, port: this.port, user: this.name, ...this.secret(), ...options });
  }

  /** A raw session through the balancer, by password. */
  rawByPassword(options: { readonly replyMs?: number; readonly deadlineMs?: number } = {}): Promise<RawSftp> {
    return RawSftp.connect({ host: this.host, port: this.port, user: this.name, password: this.password, ...options });
  }

  /** A raw session with one node, past the balancer (the PROXY header says `source`). */
  rawOn(index: number, options: { readonly source?: string; readonly replyMs?: number } = {}): Promise<RawSftp> {
    return this.rawAt(this.site.node(index).sftpPort, options);
  }

  /** The same by the node's port. */
  rawAt(port: number, options: { readonly source?: string; readonly replyMs?: number } = {}): Promise<RawSftp> {
    return RawSftp.connect({
      host: "127.0.0.1",
      port,
      user: this.name,
      proxy: { source: options.source ?? "192.0.2.7" },
      ...this.secret(),
      ...(options.replyMs === undefined ? {} : { replyMs: options.replyMs }),
    });
  }

  private secret(): { privateKey: Buffer } {
    return { privateKey: readFileSync(this.keyFile) };
  }
}
