import { z } from "zod";
import { modeSchema } from "#config/active-schema.js";
import { accountNameSchema } from "#config/schema.js";

export const DEFAULT_NODES = 3;
export const DEFAULT_BASE_PORT = 2222;
export const DEFAULT_ACCOUNT = "partner";
/** Each node has a block of ten ports, and a site a hundred. */
export const MAX_NODES = 9;
export const PORTS_A_SITE = 100;

/** What was asked for on the command line; it also travels to the background supervisor as JSON. */
export const upOptionsSchema = z.strictObject({
  /** Absolute. */
  directory: z.string().min(1),
  /** Absent: as many as last time, else DEFAULT_NODES. */
  nodes: z.int().min(1).max(MAX_NODES).optional(),
  /** Given: exactly this one. Absent: last time's, else DEFAULT_BASE_PORT, else the next free block. */
  basePort: z
    .int()
    .min(1024)
    .max(65_536 - PORTS_A_SITE)
    .optional(),
  /** One node with the embedded store, and nothing else. Absent: as last time. */
  standalone: z.boolean().optional(),
  /** Whether the admin ports speak HTTPS. Absent: as last time, else not. */
  tls: z.boolean().optional(),
  /** Which nodes take partners. Absent: as the site's settings say. */
  mode: modeSchema.optional(),
  /** Whether a node that died is started again. etcd, HAProxy and Prometheus always are. */
  restart: z.boolean(),
  /** Whether Prometheus runs too, where it is installed. */
  prometheus: z.boolean(),
  /** These exist when the site is up; made where they don't. */
  accounts: z.array(accountNameSchema).min(1),
});
export type UpOptions = z.infer<typeof upOptionsSchema>;
