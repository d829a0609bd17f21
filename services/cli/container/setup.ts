import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { renderEndSessions } from "#balancer/end-sessions.js";
import { CliError, EXIT } from "../errors.js";
import { readIfThere, readOrCreate, writeAtomically } from "../files.js";
import { siteLayout } from "../layout.js";
import { accountCredentials, randomPassword } from "../up/secrets.js";
import { ensureAuthority, ensureLeaf, type KeyPair } from "./certificates.js";
import { type ContainerEnvironment, readEnvironment } from "./environment.js";
import {
  addressOf,
  adminNames,
  alertmanagerConfig,
  BALANCER_AUTHORITY,
  BALANCER_CERTIFICATE,
  BALANCER_SCRIPT,
  balancerConfig,
  balancerOptions,
  DIRECTORY,
  MAIL_PASSWORD,
  MEMBERS,
  MONITORING_AUTHORITY,
  NODE_FILES,
  prometheusConfig,
  siteFile,
} from "./plan.js";
import { checkFilled, checkPrivate, checkWritable } from "./rights.js";
import { CA_FILE, GRAFANA_PASSWORD_FILE, SITE_FILE, TOKEN_FILE } from "./site-file.js";

/**
 * What has to be there before the first container of a site: secrets, certificates, configuration. Run before each start;
 * makes what is missing, keeps what is there, and refuses (CliError) what it finds wrong. `say` hears what was done.
 */
export async function setUp(env: NodeJS.ProcessEnv, say: (text: string) => void): Promise<void> {
  process.umask(0o077);
  const read = readEnvironment(env);
  const clustered = read.LONGSHORE_STORE === "etcd";
  const privateDirectories = [
    DIRECTORY.node,
    DIRECTORY.site,
    DIRECTORY.authority,
    ...(clustered ? [DIRECTORY.etcd, DIRECTORY.balancer, DIRECTORY.monitoring, DIRECTORY.grafana] : []),
  ];
  checkWritable(DIRECTORY.storage, `LONGSHORE_STORAGE="${read.LONGSHORE_STORAGE}"`);
  if (read.LONGSHORE_ALERT_MAIL_USER !== undefined) checkFilled(MAIL_PASSWORD, "LONGSHORE_ALERT_MAIL_PASSWORD_FILE");
  for (const directory of privateDirectories) {
    checkWritable(directory, "a volume of secrets");
    checkPrivate(directory);
  }

  const known = readIfThere(join(DIRECTORY.site, SITE_FILE)) !== undefined;
  if (known && readIfThere(NODE_FILES.clusterKey) === undefined) {
    // A new one wouldn't open what the old one sealed: the host keys that partners know the site by.
    throw new CliError(
      EXIT.settings,
      `${NODE_FILES.clusterKey} is missing from a site that had one: restore the volume \`secrets-node\` from a backup`,
    );
  }
  makeSecrets(say);
  makeAdminCertificates(read, say);
  if (clustered) {
    makeCertificates(read, say);
    replace(join(DIRECTORY.balancer, "haproxy.cfg"), balancerConfig(read), say);
    replace(BALANCER_SCRIPT, renderEndSessions(balancerOptions(read)), say);
    replace(join(DIRECTORY.monitoring, "prometheus.yml"), prometheusConfig(read), say);
    replace(join(DIRECTORY.monitoring, "alertmanager.yml"), alertmanagerConfig(read), say);
    shareSecret(join(DIRECTORY.grafana, "admin-password"), GRAFANA_PASSWORD_FILE, () => {
      say("made Grafana's password");
      return `${randomPassword()}\n`;
    });
  }
  const layout = siteLayout(DIRECTORY.site);
  await accountCredentials(layout, read.LONGSHORE_ACCOUNT);
  replace(join(DIRECTORY.site, SITE_FILE), `${JSON.stringify(siteFile(read), null, 2)}\n`, say);
  say("all is there");
}

function makeSecrets(say: (text: string) => void): void {
  readOrCreate(NODE_FILES.clusterKey, () => {
    say("made the cluster key");
    return `${randomBytes(32).toString("base64")}\n`;
  });
  shareSecret(NODE_FILES.adminToken, TOKEN_FILE, () => {
    say("made the admin token");
    return `${randomBytes(32).toString("base64url")}\n`;
  });
}

/** Makes a secret where there is none, and gives the command its copy: it has no volume in common with others. */
function shareSecret(file: string, name: string, make: () => string): void {
  const secret = readOrCreate(file, make);
  const shared = join(DIRECTORY.site, name);
  if (readIfThere(shared) !== secret) writeAtomically(shared, secret);
}

function pair(directory: string, name: string): KeyPair {
  return { certificate: join(directory, `${name}.pem`), key: join(directory, `${name}.key`) };
}

/** Of the admin API, with an authority of its own: what it signs opens nothing at etcd. */
function makeAdminCertificates(env: ContainerEnvironment, say: (text: string) => void): void {
  const { LONGSHORE_NET: net, LONGSHORE_STORE: store } = env;
  const tell = (done: string | undefined) => done !== undefined && say(done);
  const authority = pair(DIRECTORY.authority, "admin-ca");
  tell(ensureAuthority(authority, "Longshore admin"));
  const nodes = { certificate: NODE_FILES.adminCertificate, key: NODE_FILES.adminKey };
  tell(ensureLeaf(nodes, authority, { name: "longshore-nodes", for: adminNames(net, "node"), server: true }));
  copy(authority.certificate, NODE_FILES.adminAuthority);
  copy(authority.certificate, join(DIRECTORY.site, CA_FILE));
  if (store !== "etcd") return;
  const balancers = pair(DIRECTORY.authority, "balancer-admin");
  const names = adminNames(net, "balancer");
  tell(ensureLeaf(balancers, authority, { name: "longshore-balancers", for: names, server: true }));
  const both = readFileSync(balancers.certificate, "utf8") + readFileSync(balancers.key, "utf8");
  if (readIfThere(BALANCER_CERTIFICATE) !== both) writeAtomically(BALANCER_CERTIFICATE, both);
  copy(authority.certificate, BALANCER_AUTHORITY);
  copy(authority.certificate, MONITORING_AUTHORITY);
}

/** Two authorities: with a node's certificate nobody can pass for a member of etcd. */
function makeCertificates({ LONGSHORE_NET: net }: ContainerEnvironment, say: (text: string) => void): void {
  const tell = (done: string | undefined) => done !== undefined && say(done);
  const clients = pair(DIRECTORY.authority, "clients-ca");
  const peers = pair(DIRECTORY.authority, "peers-ca");
  tell(ensureAuthority(clients, "Longshore etcd clients"));
  tell(ensureAuthority(peers, "Longshore etcd peers"));
  copy(clients.certificate, join(DIRECTORY.etcd, "clients-ca.pem"));
  copy(peers.certificate, join(DIRECTORY.etcd, "peers-ca.pem"));
  copy(clients.certificate, NODE_FILES.etcdAuthority);
  for (const index of MEMBERS) {
    const name = `etcd-${index}`;
    const names = [`DNS:${name}`, "DNS:localhost", `IP:${addressOf(net, "etcd", index)}`, "IP:127.0.0.1"];
    tell(ensureLeaf(pair(DIRECTORY.etcd, name), clients, { name, for: names, server: true }));
    const peer = { name: `${name}-peer`, for: names, server: true };
    tell(ensureLeaf(pair(DIRECTORY.etcd, peer.name), peers, peer));
  }
  const client = { certificate: NODE_FILES.etcdCertificate, key: NODE_FILES.etcdKey };
  tell(ensureLeaf(client, clients, { name: "longshore-node", for: [], server: false }));
}

function copy(from: string, to: string): void {
  const text = readIfThere(from) ?? "";
  if (readIfThere(to) !== text) writeAtomically(to, text);
}

/** Writes a file that follows from the environment, where it isn't as it should be. */
function replace(file: string, text: string, say: (text: string) => void): void {
  const before = readIfThere(file);
  if (before === text) return;
  writeAtomically(file, text);
  say(before === undefined ? `wrote ${file}` : `wrote ${file} anew: it has changed`);
}
