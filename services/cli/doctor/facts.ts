import { z } from "zod";
import type { Address } from "#lib/address.js";

/** What the doctor saw, before it thinks about it: gathered by gather.ts, judged by checks.ts. */
export interface Facts {
  /** A check of what is empty here is left out. */
  readonly nodes: readonly NodeFacts[];
  readonly fronts: readonly FrontFacts[];
  readonly balancers: readonly BalancerFacts[];
  readonly members: readonly MemberFacts[];
  readonly secrets: readonly SecretFacts[];
  /** Admin addresses that aren't a node's own: the balancers'. */
  readonly admins: readonly AdminFacts[];
  /** Undefined where no node could try its storage. */
  readonly trial: TrialFacts | undefined;
}

export interface AdminFacts {
  readonly name: string;
  readonly url: string;
  /** Undefined: it answers. */
  readonly problem: string | undefined;
  /** Of its certificate, milliseconds since 1970. */
  readonly endsAt?: number;
}

/** What nodes could do with one another's files on the storage. */
export interface TrialFacts {
  readonly nodes: readonly string[];
  readonly pairs: readonly TrialPair[];
  /** Of the nodes that created one file all at once: those that were told that they did. */
  readonly winners: readonly string[];
  /** Nodes that couldn't try. */
  readonly problems: readonly { readonly node: string; readonly problem: string; readonly refused: boolean }[];
}

/** A file that `creator` made exclusively, and what `other` did with it. With one node alone both are that one. */
export interface TrialPair {
  readonly creator: string;
  readonly other: string;
  /** When `other` created it, too: only `exists` is right. */
  readonly created: string;
  /** Whose file `other` found under the name. */
  readonly found: string | undefined;
  /** When `other` renamed it. */
  readonly renamed: string;
  /** What `creator` then found under the old name and under the new one. */
  readonly stillThere: boolean;
  readonly moved: boolean;
}

export interface NodeFacts {
  readonly name: string;
  readonly adminUrl: string;
  /** Whether the site is incomplete without it; a slot that nobody has filled yet isn't expected. */
  readonly expected: boolean;
  readonly answer: NodeAnswer;
}

export type NodeAnswer =
  | {
      readonly kind: "status";
      readonly status: NodeStatus;
      /** Wall clock here, milliseconds since 1970. */
      readonly askedAt: number;
      readonly roundTripMs: number;
    }
  | { readonly kind: "denied" }
  /** It answered with something else. */
  | { readonly kind: "odd"; readonly problem: string }
  | { readonly kind: "silent"; readonly problem: string };

/** What is needed of `GET /api/v1/status`. */
export const nodeStatusSchema = z.looseObject({
  node: z.looseObject({
    name: z.string(),
    version: z.string(),
    state: z.string(),
    reasons: z.array(z.string()),
    leaseUsable: z.boolean(),
    time: z.number(),
    storage: z
      .looseObject({
        healthy: z.boolean(),
        problem: z.string().optional(),
        freeBytes: z.number().optional(),
        totalBytes: z.number().optional(),
      })
      .nullable(),
  }),
  config: z.looseObject({
    revision: z.number(),
    hash: z.string(),
    lagMs: z.number(),
    faults: z.array(z.unknown()),
    trouble: z.string().nullable(),
    otherCertificates: z.array(z.looseObject({ node: z.string(), use: z.string() })).default([]),
  }),
  nodes: z.array(
    z.looseObject({
      name: z.string(),
      addresses: z.record(z.string(), z.string()),
      certificates: z.array(z.looseObject({ use: z.string(), notAfter: z.number() })).default([]),
    }),
  ),
});
export type NodeStatus = z.infer<typeof nodeStatusSchema>;

/** One address that partners come to. */
export interface FrontFacts {
  readonly name: string;
  readonly address: Address;
  /** The server's first line; undefined where none came. */
  readonly banner: string | undefined;
  /** Why there is no banner. */
  readonly problem?: string;
  /** `ssh-ed25519 SHA256:...`, sorted. */
  readonly hostKeys: readonly string[];
  /** Our own end of the connection, as this machine has it. */
  readonly client: Address | undefined;
  /** Who the nodes say is connected without a login, while we are; undefined where no node could be asked. */
  readonly seen: readonly SeenClient[] | undefined;
}

export interface SeenClient extends Address {
  readonly node: string;
}

export interface BalancerFacts {
  readonly name: string;
  /** Each node's state as the balancer has it (`UP`, `DOWN`, ...); undefined where it doesn't answer. */
  readonly servers: ReadonlyMap<string, string> | undefined;
  readonly problem?: string;
}

export interface MemberFacts {
  readonly name: string;
  readonly healthy: boolean;
  readonly problem?: string;
}

export interface SecretFacts {
  readonly path: string;
  /** Permission bits; undefined where it can't be looked at. */
  readonly mode: number | undefined;
  readonly problem?: string;
}

/** The answer of one check. */
export interface Finding {
  readonly check: string;
  /** What it is about: a node, an address, a file; "site" for all together. */
  readonly subject: string;
  /** `fail`: something is broken. `warn`: it works, and somebody should know. */
  readonly result: "ok" | "warn" | "fail";
  readonly seen: string;
  /** What to do; never missing but for `ok`. */
  readonly mend?: string;
}
