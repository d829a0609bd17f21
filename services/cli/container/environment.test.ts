import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CliError, EXIT } from "../errors.js";
import { readEnvironment, readNodeEnvironment } from "./environment.js";

function refused(env: NodeJS.ProcessEnv, words: RegExp): void {
  assert.throws(
    () => readEnvironment(env),
    (error: unknown) => {
      assert.ok(error instanceof CliError);
      assert.equal(error.exitCode, EXIT.settings);
      assert.match(error.message, words);
      assert.ok(!error.message.includes("\n"), "one line");
      return true;
    },
  );
}

describe("the environment of a container", () => {
  test("nothing set, or set to nothing as compose does it: the defaults", () => {
    const read = readEnvironment({ LONGSHORE_SFTP_PORT: "", LONGSHORE_NODE_MEMORY: "" });
    assert.equal(read.LONGSHORE_SFTP_PORT, 2222);
    assert.equal(read.LONGSHORE_NODE_MEMORY, 512 * 1024 ** 2);
    assert.equal(read.LONGSHORE_STORAGE, "storage");
  });

  test("a wrong value is named with its setting and what it should be", () => {
    refused({ LONGSHORE_SFTP_PORT: "70000" }, /^LONGSHORE_SFTP_PORT="70000" must be a port/);
    refused({ LONGSHORE_DRAIN_SECONDS: "soon" }, /LONGSHORE_DRAIN_SECONDS="soon" must be whole seconds/);
    refused({ LONGSHORE_SITE: "Site 1" }, /LONGSHORE_SITE="Site 1" must be letters/);
    refused({ LONGSHORE_SUBNET: "172.31.83.0" }, /LONGSHORE_SUBNET="172.31.83.0" must be an IPv4 network/);
    refused({ LONGSHORE_ACCOUNT: "-x" }, /LONGSHORE_ACCOUNT/);
    refused({ LONGSHORE_ALERT_WEBHOOK_URL: "pager" }, /LONGSHORE_ALERT_WEBHOOK_URL="pager" must be an http/);
  });

  test("several faults are told at once", () => {
    refused({ LONGSHORE_SFTP_PORT: "x", LONGSHORE_LOG_LEVEL: "loud" }, /LONGSHORE_SFTP_PORT.*; LONGSHORE_LOG_LEVEL/);
  });

  test("too little memory is refused before a container dies of it", () => {
    refused({ LONGSHORE_NODE_MEMORY: "64m" }, /LONGSHORE_NODE_MEMORY="64m" is too little: give at least 192m/);
    assert.equal(readEnvironment({ LONGSHORE_NODE_MEMORY: "1G" }).LONGSHORE_NODE_MEMORY, 1024 ** 3);
  });

  test("addresses outside of the network are refused", () => {
    refused({ LONGSHORE_NET: "198.18.10" }, /LONGSHORE_NET="198.18.10" isn't in LONGSHORE_SUBNET="172.31.83.0\/24"/);
    refused({ LONGSHORE_NET: "172.31.83", LONGSHORE_SUBNET: "172.31.83.0/27" }, /isn't in/);
    const wide = readEnvironment({ LONGSHORE_NET: "10.9.7", LONGSHORE_SUBNET: "10.9.0.0/16" });
    assert.equal(wide.LONGSHORE_NET, "10.9.7");
  });

  test("no two services may be published at one port", () => {
    refused({ LONGSHORE_SFTP_PORT_2: "2222" }, /LONGSHORE_SFTP_PORT_2 and LONGSHORE_SFTP_PORT are both 2222/);
    // A single node publishes neither a second balancer nor Grafana.
    readEnvironment({ LONGSHORE_STORE: "embedded", LONGSHORE_SFTP_PORT: "2223" });
  });

  test("a drain that the engine would cut short is refused", () => {
    refused({ LONGSHORE_DRAIN_SECONDS: "60" }, /LONGSHORE_STOP_GRACE="45s".*give at least 70s/);
    readEnvironment({ LONGSHORE_DRAIN_SECONDS: "60", LONGSHORE_STOP_GRACE: "70s" });
  });

  test("mail needs a sender and a server", () => {
    refused({ LONGSHORE_ALERT_MAIL_TO: "ops@example.net" }, /LONGSHORE_ALERT_MAIL_FROM must be, too/);
  });

  test("a node must be told its name and slot", () => {
    assert.throws(() => readNodeEnvironment({ LONGSHORE_NODE_NAME: "node-1" }), /LONGSHORE_NODE_SLOT is missing/);
  });
});
