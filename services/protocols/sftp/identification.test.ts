import assert from "node:assert/strict";
import { test } from "node:test";
import { judgeIdentification } from "./identification.js";

const judge = (text: string) => judgeIdentification(Buffer.from(text, "latin1"));

test("what clients send is taken", () => {
  for (const line of [
    "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u6\r\n",
    "SSH-2.0-JSCH-0.1.54\n",
    "SSH-1.99-old\r\n",
    "SSH-2.0-WinSCP_release_6.1\r\n\x00\x00\x05\xdc",
    `SSH-2.0-${"x".repeat(245)}\r\n`,
  ]) {
    assert.deepEqual(judge(line), { state: "done" }, line);
  }
});

test("a beginning waits for its end", () => {
  for (const part of ["", "S", "SSH-", "SSH-2.0-x", "SSH-2.0-x\r", `SSH-2.0-${"x".repeat(246)}`]) {
    assert.equal(judge(part).state, "more", part);
  }
});

test("what isn't SSH 2 is refused at its first wrong byte", () => {
  for (const line of [
    "GET / HTTP/1.1\r\n",
    "\x16\x03\x01",
    "SSX",
    "\n",
    "SSH-1.5-x\r\n",
    "SSH-2.0-\r\n",
    "SSH-2.0\r\n",
  ]) {
    assert.equal(judge(line).state, "refused", line);
  }
  assert.equal(judge("SSH-2.0-a\0b\r\n").state, "refused");
  assert.equal(judge("SSH-2.0-a\rb\r\n").state, "refused");
  assert.equal(judge(`SSH-2.0-${"x".repeat(247)}`).state, "refused");
  assert.equal(judge(`SSH-2.0-${"x".repeat(246)}\r\n`).state, "refused");
});
