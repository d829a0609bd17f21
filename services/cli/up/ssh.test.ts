import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, test } from "node:test";
import { knownHosts, sftpCommand, shellWord } from "./ssh.js";

const key = Buffer.from("AAAAC3NzaC1lZDI1NTE5AAAAIBPVkaBPVkaBPVkaBPVkaBPVkaBPVkaBPVkaBPVkaBPV", "base64");

describe("what a partner pastes", () => {
  test("known_hosts names the port, but for 22", () => {
    assert.match(
      knownHosts({ host: "127.0.0.1", port: 2222 }, [key]),
      /^\[127\.0\.0\.1\]:2222 ssh-ed25519 AAAAC3\S+\n$/,
    );
    assert.match(knownHosts({ host: "127.0.0.1", port: 22 }, [key]), /^127\.0\.0\.1 ssh-ed25519 /);
  });

  test("a shell gives back each word as it was", () => {
    for (const word of ["plain-1.0", "two words", "it's", '"$HOME" `x`', "a\nb", ""]) {
      const back = execFileSync("sh", ["-c", `printf %s ${shellWord(word)}`], { encoding: "utf8" });
      assert.equal(back, word);
    }
  });

  test("a directory with spaces is quoted for the shell and for ssh", () => {
    const command = sftpCommand({
      address: { host: "127.0.0.1", port: 2222 },
      account: "partner",
      privateKeyFile: "/my site/id",
      knownHostsFile: "/my site/known_hosts",
    });
    assert.ok(command.includes(`-i '/my site/id'`));
    assert.ok(command.includes(`-o 'UserKnownHostsFile="/my site/known_hosts"'`));
    assert.ok(command.endsWith("-P 2222 partner@127.0.0.1"));
  });
});
