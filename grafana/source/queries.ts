/** Parts of queries that dashboards and alerts share. */

/** Reasons of failed commits that the client gave: its directory is gone, another upload of the same name came later. */
export const clientReasons = [
  "not-found",
  "exists",
  "is-a-directory",
  "not-a-directory",
  "not-empty",
  "incomplete-upload",
  "superseded",
  "closed",
].join("|");

/** Each node stands in HAProxy twice (services/balancer/template.ts): this is where its agent and its sessions are. */
export const sftpServers = `proxy="sftp",server!~".+-last-resort"`;
