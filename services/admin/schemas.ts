import { z } from "zod";
import { NODE_STATES, nodeRecordSchema } from "#cluster/contract.js";
import { MODES } from "#config/active-schema.js";
import { administratorSchema, administratorTokenSchema, roleSchema } from "#config/entries.js";
import { accountSchema, siteSchema } from "#config/schema.js";
import { scopesSchema } from "#config/scopes.js";
import { holderSchema } from "./active-spec.js";

/** What goes over the wire, for the route table. Answers are strict here, so that a test sees a field that isn't declared. */

const revision = z.int().min(0);
/** Entries of one page, and where the next one is. */
const next = z.string().optional().meta({ description: "The cursor of the next page; absent: this is the last one." });

export const PAGE_LIMIT = 1_000;
export const pageQuery = z.strictObject({
  limit: z
    .string()
    .regex(/^[1-9]\d{0,3}$/)
    .refine((text) => Number(text) <= PAGE_LIMIT, `at most ${PAGE_LIMIT}`)
    .optional()
    .meta({ description: `Entries in one page, 1 to ${PAGE_LIMIT}; default ${PAGE_LIMIT}.` }),
  cursor: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,512}$/)
    .optional()
    .meta({ description: "`next` of the page before; nothing else." }),
});
export type PageQuery = z.infer<typeof pageQuery>;

export const problem = z.strictObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string().optional(),
  code: z.string().optional(),
  faults: z.array(z.strictObject({ path: z.string(), message: z.string() })).optional(),
  currentRevision: revision.optional(),
});

export const live = z.strictObject({ status: z.literal("live") });
const conditions = { state: z.enum(NODE_STATES), reasons: z.array(z.string()) };
export const ready = z.strictObject({ status: z.enum(["ready", "not-ready"]), ...conditions });
export const serving = z.strictObject({ status: z.enum(["serving", "not-serving"]), ...conditions });

const load = z.strictObject({ sessions: z.number(), transfers: z.number(), bytesPerSecond: z.number() });
const node = nodeRecordSchema;
export const nodes = z.strictObject({ nodes: z.array(node), next });
export const wish = z.strictObject({ id: z.string(), wish: z.literal("drain").nullable() });

export const status = z.strictObject({
  node: z.strictObject({
    id: z.string(),
    name: z.string(),
    slot: z.int(),
    version: z.string(),
    labels: z.record(z.string(), z.string()),
    addresses: z.record(z.string(), z.string()),
    ...conditions,
    incarnation: z.string().nullable(),
    leaseUsable: z.boolean(),
    uptimeSeconds: z.number(),
    time: z.number().meta({ description: "By the node's clock, milliseconds since 1970." }),
    load,
    storage: z
      .looseObject({ healthy: z.boolean(), problem: z.string().optional(), freeBytes: z.number().optional() })
      .nullable(),
    audit: z.strictObject({ problem: z.string().nullable(), warning: z.string().nullable() }),
  }),
  config: z.strictObject({
    revision,
    hash: z.string(),
    lagMs: z.number(),
    faults: z.array(z.strictObject({ key: z.string(), path: z.string(), message: z.string() })),
    trouble: z.string().nullable(),
    mismatches: z
      .array(z.string())
      .meta({ description: "Names of nodes that have this node's revision in force, but not its hash." }),
    otherCertificates: z
      .array(z.strictObject({ node: z.string(), use: z.string() }))
      .meta({ description: "Nodes whose certificate for the same names is another one than this node's." }),
  }),
  coordinator: z
    .strictObject({ incarnation: z.string(), id: z.string(), name: z.string(), since: z.number(), generation: z.int() })
    .nullable(),
  mode: z.enum(MODES).nullable().meta({ description: "Null before there is a configuration." }),
  active: holderSchema.nullable().meta({ description: "The active node; null in the mode active-active." }),
  sessions: z.number(),
  transfers: z.number(),
  nodes: z.array(node),
  clocksOff: z
    .array(z.strictObject({ name: z.string(), offsetMs: z.number().meta({ description: "Positive: ahead." }) }))
    .meta({ description: "Nodes whose clock is 5 s or more off the median of all." }),
  nodesBehindMs: z.number(),
});

export const connections = z.strictObject({
  node: z.string(),
  connections: z.array(
    z.strictObject({ protocol: z.string(), address: z.string(), port: z.int(), account: z.string().nullable() }),
  ),
});

export const MOST_WAIT_SECONDS = 10;
export const convergenceQuery = z.strictObject({
  revision: z.string().regex(/^\d{1,15}$/),
  wait: z
    .string()
    .regex(/^(?:\d(?:\.\d{1,3})?|10)$/)
    .optional()
    .meta({
      description: `Seconds, at most ${MOST_WAIT_SECONDS}: the answer comes when it holds everywhere, or then.`,
    }),
});
export const convergence = z.strictObject({
  revision,
  converged: z.boolean(),
  nodes: z.array(
    z.strictObject({
      id: z.string(),
      name: z.string(),
      revision,
      hash: z.string(),
      converged: z.boolean(),
    }),
  ),
});

/** What only we say may come back unchanged from a client that edits an answer. */
const said = { revision: z.unknown().optional() };

export const site = siteSchema.extend({ revision });
export const siteBody = siteSchema.extend(said);

export const account = accountSchema
  .omit({ passwordHash: true, passwordHistory: true })
  .extend({ hasPassword: z.boolean(), revision });
export const accountBody = accountSchema
  .extend({
    name: accountSchema.shape.name.optional().meta({ description: "As in the address." }),
    password: z.string().min(1).max(1_024).nullish(),
    hasPassword: z.unknown().optional(),
    ...said,
  })
  .meta({ description: "`password` absent: it stays as it is; null: there is none any more." });
export const accounts = z.strictObject({ accounts: z.array(account), next });

const token = administratorTokenSchema.omit({ hash: true });
export const administrator = administratorSchema
  .omit({ tokens: true, passwordHash: true })
  .extend({ tokens: z.array(token), revision });
export const administrators = z.strictObject({ administrators: z.array(administrator), next });
export const administratorBody = administratorSchema.omit({ name: true, tokens: true, passwordHash: true }).extend({
  name: administratorSchema.shape.name.optional().meta({ description: "As in the address." }),
  tokens: z.unknown().optional(),
  ...said,
});
export const tokenBody = z.strictObject({
  scopes: scopesSchema.default(["*"]),
  expiresAt: z.iso.datetime().optional().meta({ description: "In UTC, such as 2027-01-31T00:00:00Z; absent: never." }),
});
export const newToken = token.extend({
  token: z.string().meta({ description: "Shown this once: the site keeps only a hash." }),
  revision,
});
export const self = z.strictObject({
  name: z.string(),
  role: roleSchema,
  scopes: z.array(z.string()),
  tokenId: z.string().nullable(),
  expiresAt: z.iso.datetime().nullable(),
});
export const document = z.looseObject({ openapi: z.string() });
