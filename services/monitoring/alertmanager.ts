import { type Address, hostPort } from "#lib/address.js";

export interface MailReceiver {
  /** The mail server. */
  readonly smtp: Address;
  readonly from: string;
  /** At least one. */
  readonly to: readonly string[];
  /** Absent: the server asks for no login. */
  readonly login?: {
    readonly user: string;
    /**
     * A file, so that the password is in no configuration; as Alertmanager sees it. Without a line end, which 0.25 (Debian 12)
     * takes for a part of the password.
     */
    readonly passwordFile: string;
  };
  /** Whether a server without TLS is refused. Default true. */
  readonly requireTls?: boolean;
}

/** Who hears of an alert. With neither of them alerts are seen in Alertmanager only. */
export interface AlertmanagerOptions {
  /** Gets each notification as a POST of JSON. May hold a token: the rendered file is for its reader only (0600). */
  readonly webhookUrl?: string;
  readonly mail?: MailReceiver;
}

const RECEIVER = "operators";

/**
 * The whole alertmanager.yml of a site. As JSON, which is YAML. Pure. Throws a TypeError that begins with the option's name
 * where a receiver can't work.
 */
export function renderAlertmanager(options: AlertmanagerOptions): string {
  const { webhookUrl, mail } = options;
  const config = {
    route: {
      receiver: RECEIVER,
      group_by: ["site", "alertname"],
      // One fault shows in several nodes' scrapes, a few seconds apart: one message shall tell them all.
      group_wait: "10s",
      group_interval: "1m",
      repeat_interval: "12h",
      routes: [{ matchers: ['severity="critical"'], receiver: RECEIVER, group_wait: "5s", repeat_interval: "1h" }],
    },
    // The first alert says it all; the second one is its consequence.
    inhibit_rules: [
      inhibit("LongshoreSiteServesNobody", ["LongshoreSiteBelowTwoReadyNodes"], ["site"]),
      inhibit(
        "LongshoreEtcdNoQuorum",
        ["LongshoreNodeCutOff", "LongshoreStoreErrors", "LongshoreCommitErrors", "LongshoreConfigLag"],
        ["site"],
      ),
      inhibit("LongshoreConfigInvalid", ["LongshoreConfigLag", "LongshoreConfigBehind"], ["site", "node"]),
      inhibit("LongshoreNodeCutOff", ["LongshoreConfigLag", "LongshoreStoreErrors"], ["site", "node"]),
      inhibit("LongshoreCertificateExpired", ["LongshoreCertificateExpires"], ["site", "node", "use"]),
      inhibit("LongshoreAuditSpoolNearlyFull", ["LongshoreAuditNotShipped"], ["site", "node"]),
      inhibit("LongshoreStorageUnhealthy", ["LongshoreAuditNotShipped"], ["site", "node"]),
      inhibit("LongshoreStorageFilling", ["LongshoreStorageNearlyFull"], ["site"]),
    ],
    receivers: [
      {
        name: RECEIVER,
        ...(webhookUrl === undefined ? {} : { webhook_configs: [webhookConfig(webhookUrl)] }),
        ...(mail === undefined ? {} : { email_configs: [mailConfig(mail)] }),
      },
    ],
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

function inhibit(source: string, targets: readonly string[], equal: readonly string[]) {
  return {
    source_matchers: [`alertname="${source}"`],
    target_matchers: [`alertname=~"${targets.join("|")}"`],
    equal,
  };
}

function webhookConfig(url: string) {
  const { protocol } = URL.canParse(url) ? new URL(url) : { protocol: "" };
  if (!["http:", "https:"].includes(protocol)) throw new TypeError("webhookUrl: give an http:// or https:// address");
  return { url, send_resolved: true };
}

function mailConfig({ smtp, from, to, login, requireTls = true }: MailReceiver) {
  if (to.length === 0) throw new TypeError("mail.to: give at least one address");
  for (const [name, address] of [["from", from] as const, ...to.map((each) => ["to", each] as const)]) {
    if (!/^[^\s@,]+@[^\s@,]+$/.test(address)) throw new TypeError(`mail.${name}: "${address}" is no mail address`);
  }
  return {
    smarthost: hostPort(smtp),
    from,
    to: to.join(", "),
    require_tls: requireTls,
    send_resolved: true,
    ...(login === undefined ? {} : { auth_username: login.user, auth_password_file: login.passwordFile }),
  };
}
