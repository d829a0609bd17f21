import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type Server as HttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { renderAlertmanager } from "#monitoring/alertmanager.js";
import { run, succeeded } from "../support/clients/run.js";
import { ensurePackages } from "../support/packages.js";
import { freePort } from "../support/ports.js";
import { type Started, start } from "../support/processes.js";

/** From an alert to the people who are to hear of it: a real Alertmanager, and the smallest receivers. */

const DELIVERED_MS = 30_000;

interface Delivered {
  /** Bodies of the webhook's requests. */
  readonly posts: string[];
  /** What the mail client said, commands and message. */
  readonly mail: string[];
}

const REPLIES: Readonly<Record<string, string>> = {
  EHLO: "250-test\r\n250 AUTH PLAIN",
  AUTH: "235 welcome",
  DATA: "354 go on",
  QUIT: "221 bye",
};

/** As much of a mail server (RFC 5321, RFC 4954) as one client needs. */
function answerMail(socket: Socket, mail: string[]): void {
  let inMessage = false;
  let rest = "";
  const reply = (line: string) => socket.write(`${line}\r\n`);
  const command = (line: string) => {
    if (inMessage) {
      inMessage = line !== ".";
      if (!inMessage) reply("250 taken");
      return;
    }
    const verb = line.slice(0, 4).toUpperCase();
    inMessage = verb === "DATA";
    reply(REPLIES[verb] ?? "250 ok");
  };
  socket.on("error", () => undefined);
  socket.setEncoding("utf8");
  socket.on("data", (text: string) => {
    const lines = (rest + text).split("\r\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      mail.push(line);
      command(line);
    }
  });
  reply("220 test");
}

async function listening(server: Server | HttpServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

describe("an alert", { timeout: 120_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-alertmanager-"));
  const delivered: Delivered = { posts: [], mail: [] };
  const webhook = createHttpServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (text: string) => {
      body += text;
    });
    request.on("end", () => {
      delivered.posts.push(body);
      response.end();
    });
  });
  const mailServer = createServer((socket) => answerMail(socket, delivered.mail));
  let alertmanager: Started;
  let url: string;
  let amtool: string;

  before(async () => {
    const programs = ensurePackages({
      "prometheus-alertmanager": "prometheus-alertmanager",
      amtool: "prometheus-alertmanager",
    });
    amtool = programs.amtool;
    const passwordFile = join(directory, "password");
    // Alertmanager 0.25 takes a line end for a part of the password.
    writeFileSync(passwordFile, "s3cret", { mode: 0o600 });
    const config = renderAlertmanager({
      webhookUrl: `http://127.0.0.1:${await listening(webhook)}/hook`,
      mail: {
        smtp: { host: "127.0.0.1", port: await listening(mailServer) },
        from: "longshore@example.org",
        to: ["first@example.org", "second@example.org"],
        login: { user: "longshore", passwordFile },
        requireTls: false,
      },
    });
    const file = join(directory, "alertmanager.yml");
    writeFileSync(file, config, { mode: 0o600 });
    const address = `127.0.0.1:${await freePort()}`;
    url = `http://${address}`;
    alertmanager = start(programs["prometheus-alertmanager"], [
      `--config.file=${file}`,
      `--storage.path=${directory}`,
      `--web.listen-address=${address}`,
      "--cluster.listen-address=",
    ]);
    await until("Alertmanager answers", async () => (await fetch(`${url}/-/ready`)).ok);
    const alert = (name: string, severity: string) =>
      run(amtool, [
        `--alertmanager.url=${url}`,
        ...["alert", "add", `alertname=${name}`, `severity=${severity}`, "site=hamburg", "node=node-1"],
        "--annotation=summary=what is wrong",
      ]);
    succeeded(await alert("LongshoreNodeCutOff", "warning"));
    succeeded(await alert("LongshoreEtcdNoQuorum", "critical"));
  });
  after(async () => {
    await alertmanager?.kill();
    webhook.close();
    webhook.closeAllConnections();
    mailServer.close();
    rmSync(directory, { recursive: true, force: true });
  });

  test("reaches the webhook", async () => {
    const post = await until("a post", () => delivered.posts[0], { deadlineMs: DELIVERED_MS });
    const { status, alerts } = JSON.parse(post) as { status: string; alerts: { labels: Record<string, string> }[] };
    assert.equal(status, "firing");
    assert.deepEqual(
      alerts.map(({ labels }) => labels.alertname),
      ["LongshoreEtcdNoQuorum"],
    );
  });

  test("reaches everybody by mail, after a login with the password of the file", async () => {
    await until("the mail is taken", () => delivered.mail.includes("."), { deadlineMs: DELIVERED_MS });
    const said = delivered.mail.join("\n");
    assert.match(said, new RegExp(`^AUTH PLAIN ${Buffer.from("\0longshore\0s3cret").toString("base64")}$`, "m"));
    assert.match(said, /^RCPT TO:<first@example\.org>$/m);
    assert.match(said, /^RCPT TO:<second@example\.org>$/m);
    assert.match(said, /LongshoreEtcdNoQuorum/);
  });

  test("that is only another one's consequence is kept back", async () => {
    const answer = await fetch(`${url}/api/v2/alerts?active=true&inhibited=true`);
    const alerts = (await answer.json()) as { labels: Record<string, string>; status: { state: string } }[];
    const states = Object.fromEntries(alerts.map(({ labels, status }) => [labels.alertname, status.state]));
    assert.deepEqual(states, { LongshoreNodeCutOff: "suppressed", LongshoreEtcdNoQuorum: "active" });
    assert.ok(!delivered.posts.some((post) => post.includes("LongshoreNodeCutOff")));
  });
});
