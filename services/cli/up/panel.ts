import type { SiteEndpoints } from "../endpoints.js";
import { sftpCommand, shellWord } from "./ssh.js";

/** What a person needs to use the site; `end` says how to stop it. */
export function panel(endpoints: SiteEndpoints, end: string): string {
  const { admin, prometheus, haproxy, alertmanager, grafana, storage } = endpoints;
  const sftp = endpoints.fronts ?? [endpoints];
  const optional = (label: string, value: string | undefined): [string, string][] =>
    value === undefined ? [] : [[label, value]];
  const rows: [string, string][] = [
    ...sftp.map(({ sftp: { host, port } }): [string, string] => ["SFTP", `${host}, port ${port}`]),
    ...endpoints.accounts.flatMap((account): [string, string][] => [
      ["account", account.name],
      ["  password", account.password],
      ["  key file", account.privateKeyFile],
    ]),
    ["admin API", `${admin.url}  (token in ${admin.tokenFile})`],
    ...optional("HAProxy", haproxy?.statsUrl),
    ...optional("Prometheus", prometheus?.url),
    ...optional("Alertmanager", alertmanager?.url),
    ...optional("Grafana", grafana && `${grafana.url}  (${grafana.user}, password in ${grafana.passwordFile})`),
    ...optional("files", storage.path ?? (storage.volume && `volume ${storage.volume}`)),
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  const account = endpoints.accounts[0];
  const commands = sftp.map(({ sftp: address }) =>
    account === undefined
      ? ""
      : sftpCommand({
          address,
          account: account.name,
          privateKeyFile: account.privateKeyFile,
          knownHostsFile: endpoints.knownHostsFile,
        }),
  );
  return [
    "",
    `The site is up: ${endpoints.nodes.length === 1 ? "one node" : `${endpoints.nodes.length} nodes`}.`,
    "",
    ...rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`),
    "",
    commands.length > 1 ? "Paste one of these to connect:" : "Paste this to connect:",
    "",
    ...commands.map((command) => `  ${command}`),
    "",
    end,
    "",
  ].join("\n");
}

/** The last line for a site of `longshore up` that runs in the background. */
export function downHint(directory: string): string {
  return `Stop it with: longshore down --dir ${shellWord(directory)}`;
}
