import { createHash } from "node:crypto";
import { createTransport } from "nodemailer";
import type { MailSettings } from "#config/life-schema.js";
import { DAY_MS, type LifeAction } from "./plan.js";

/** Notices by mail. Recipients come from the configuration alone. */

export type Notice = Extract<LifeAction, { act: "notice" }>;

export interface NoticeMail {
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  /** The same at each try, so that a mail that is sent again is known as the same one. */
  readonly messageId: string;
}

export interface Mailer {
  /** Resolves when the server has taken the mail. Throws otherwise. */
  send(mail: NoticeMail): Promise<void>;
  close(): void;
}

const TIMEOUT_MS = 15_000;

/** `password`: unsealed; undefined: no login at the server. */
export function createMailer(settings: MailSettings, password: string | undefined): Mailer {
  const { server, from, user, tls } = settings;
  const transport = createTransport({
    host: server.host,
    port: server.port,
    secure: tls === "tls",
    requireTLS: tls === "starttls",
    ignoreTLS: tls === "none",
    ...(user === undefined ? {} : { auth: { user, pass: password ?? "" } }),
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    // nothing of a notice is read from a file or fetched from an address
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return {
    async send({ to, subject, text, messageId }) {
      await transport.sendMail({ from, to, subject, text, messageId, headers: { "Auto-Submitted": "auto-generated" } });
    },
    close: () => transport.close(),
  };
}

const WHAT = {
  "account-expires": "expires",
  "password-expires": "has a password that expires",
  "account-disabled": "was not used for long and will be disabled",
  "account-removed": "was not used for long and will be removed",
} as const;
const DO = {
  "account-expires": "Ask your administrator if you still need it.",
  "password-expires": "Ask your administrator for a new one, or log in with a key.",
  "account-disabled": "One login keeps it.",
  "account-removed": "Ask your administrator if you still need it.",
} as const;

/** Pure. `key` names the notice in the store. */
export function noticeMail(
  notice: Notice,
  site: { readonly name: string; readonly id: string },
  key: string,
  now: number,
) {
  const { account, mail: to, kind, due } = notice;
  const days = Math.max(1, Math.ceil((due - now) / DAY_MS));
  const when = `${new Date(due).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  const subject = `${site.name}: account ${account} ${WHAT[kind]} in ${days} ${days === 1 ? "day" : "days"}`;
  const text = `The account "${account}" of ${site.name} ${WHAT[kind]} on ${when}.\n${DO[kind]}\n`;
  const id = createHash("sha256").update(`${site.id}\0${key}`).digest("hex").slice(0, 32);
  return { to, subject, text, messageId: `<${id}@longshore.invalid>` } satisfies NoticeMail;
}
