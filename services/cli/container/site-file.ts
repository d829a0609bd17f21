import { join } from "node:path";
import { z } from "zod";
import { CliError, EXIT } from "../errors.js";
import { readIfThere } from "../files.js";

const address = z.object({ host: z.string(), port: z.int() });

/** `site.json`: written by `setup`, read by the command in a container. Loose: a later version's keys are no error. */
const containerSiteSchema = z.looseObject({
  version: z.literal(1),
  site: z.string(),
  /** Compose's project name. */
  project: z.string(),
  /** The first account. */
  account: z.string(),
  /** Where partners come in: the balancers, or the one node. `published` on the host, `inside` on the site's network. */
  fronts: z.array(
    z.looseObject({ name: z.string(), published: address, inside: address, metricsUrl: z.string().optional() }),
  ),
  /** As published on the host. */
  adminUrl: z.string(),
  /** On the site's network, in the order in which they are asked. */
  adminUrls: z.array(z.string()),
  /** Every slot, whether a node runs there or not. */
  nodes: z.array(z.looseObject({ name: z.string(), sftp: address, adminUrl: z.string() })),
  etcd: z.array(z.string()).optional(),
  /** As published on the host; only what the profiles start. */
  monitoring: z.looseObject({
    prometheus: z.string().optional(),
    alertmanager: z.string().optional(),
    grafana: z.string().optional(),
  }),
  storage: z.looseObject({ path: z.string().optional(), volume: z.string().optional() }),
});
export type ContainerSite = z.infer<typeof containerSiteSchema>;

/** A site in containers, as the command in one of them finds it. */
export interface FoundSite extends ContainerSite {
  /** Beside site.json. */
  readonly directory: string;
  readonly tokenFile: string;
  readonly caFile: string;
}

export const SITE_FILE = "site.json";
export const TOKEN_FILE = "admin-token";
export const CA_FILE = "admin-ca.pem";
export const GRAFANA_PASSWORD_FILE = "grafana-password";

/** The site whose directory LONGSHORE_SITE_DIR names; undefined where it isn't set. Throws a CliError. */
export function containerSite(env: NodeJS.ProcessEnv): FoundSite | undefined {
  const directory = env.LONGSHORE_SITE_DIR;
  if (directory === undefined || directory === "") return undefined;
  const file = join(directory, SITE_FILE);
  const text = readIfThere(file);
  if (text === undefined) {
    throw new CliError(EXIT.notFound, "this site was never started: `docker compose up -d --wait` does that");
  }
  const parsed = containerSiteSchema.safeParse(JSON.parse(text));
  if (!parsed.success) throw new CliError(EXIT.failed, `${file} is damaged: ${z.prettifyError(parsed.error)}`);
  return { ...parsed.data, directory, tokenFile: join(directory, TOKEN_FILE), caFile: join(directory, CA_FILE) };
}
