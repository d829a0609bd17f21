import type { Endpoints } from "../endpoints.js";
import { sftpCommand, shellWord } from "./ssh.js";

/** What a person needs to use the site that just came up. */
export function panel(endpoints: Endpoints, foreground: boolean): string {
  const { sftp, admin, prometheus, haproxy } = endpoints;
  const rows: [string, string][] = [
    ["SFTP", `${sftp.host}, port ${sftp.port}`],
    ...endpoints.accounts.flatMap((account): [string, string][] => [
      ["account", account.name],
      ["  password", account.password],
      ["  key file", account.privateKeyFile],
    ]),
    ["admin API", `${admin.url}  (token in ${admin.tokenFile})`],
    ...(haproxy === undefined ? [] : ([["HAProxy", haproxy.statsUrl]] satisfies [string, string][])),
    ...(prometheus === undefined ? [] : ([["Prometheus", prometheus.url]] satisfies [string, string][])),
    ["files", endpoints.storage.path],
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  const account = endpoints.accounts[0];
  const command =
    account === undefined
      ? ""
      : sftpCommand({
          address: sftp,
          account: account.name,
          privateKeyFile: account.privateKeyFile,
          knownHostsFile: endpoints.knownHostsFile,
        });
  const end = foreground
    ? "Ctrl-C stops it; accounts and files stay for the next start."
    : `Stop it with: longshore down --dir ${shellWord(endpoints.directory)}`;
  return [
    "",
    `The site is up: ${endpoints.nodes.length === 1 ? "one node" : `${endpoints.nodes.length} nodes`}.`,
    "",
    ...rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`),
    "",
    "Paste this to connect:",
    "",
    `  ${command}`,
    "",
    end,
    "",
  ].join("\n");
}
