import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import ssh2, { type AuthHandlerMiddleware, type ConnectConfig } from "ssh2";
import { until } from "#lib/testing.js";
import { endLine, logIn, PASSWORD, startBench } from "./testing.js";

/** Logins over real SSH. */

function without(config: ConnectConfig): ConnectConfig {
  const { privateKey: _, ...rest } = config;
  return rest;
}

/** Tries passwords one after the other; resolves with what the server said to each. */
function tryPasswords(config: ConnectConfig, passwords: readonly string[]): Promise<string[]> {
  const said: string[] = [];
  const client = new ssh2.Client();
  const left = [...passwords];
  const authHandler: AuthHandlerMiddleware = (methods, _partial, next) => {
    if (methods !== null) said.push(methods.join(","));
    const password = left.shift();
    if (password === undefined) {
      client.end();
      return;
    }
    next({ type: "password", username: config.username ?? "", password });
  };
  return new Promise((resolve) => {
    client.on("ready", () => {
      said.push("ready");
      client.end();
    });
    client.on("error", () => {});
    client.on("close", () => resolve(said));
    client.connect({ ...without(config), authHandler });
  });
}

test("a key and a password log in, and a session is opened and ended for each", async (t) => {
  const bench = await startBench(t);
  (await logIn(t, bench.config)).end();
  (await logIn(t, { ...without(bench.config), password: PASSWORD })).end();
  await until("both sessions end", () => bench.sessions.ended === 2);
  assert.deepEqual(bench.logins, ["accepted publickey", "accepted password"]);
  assert.equal(bench.unauthenticated(), 0);
  const line = endLine(bench);
  assert.deepEqual([line?.reason, line?.account, line?.client], ["client", "alice", "127.0.0.1"]);
});

test("keyboard-interactive asks for the password", async (t) => {
  const bench = await startBench(t);
  const client = new ssh2.Client();
  t.after(() => client.destroy());
  client.on("keyboard-interactive", (_name, _instructions, _language, prompts, answer) => {
    assert.deepEqual(prompts, [{ prompt: "Password: ", echo: false }]);
    answer([PASSWORD]);
  });
  client.connect({ ...without(bench.config), tryKeyboard: true });
  await once(client, "ready");
  assert.deepEqual(bench.logins, ["accepted keyboard-interactive"]);
});

test("every name hears the same: unknown, disabled, wrong password", async (t) => {
  const bench = await startBench(t);
  const said = new Set<string>();
  for (const username of ["alice", "nobody", "off"]) {
    const password = username === "alice" ? "wrong" : PASSWORD;
    said.add(JSON.stringify(await tryPasswords({ ...bench.config, username }, [password])));
  }
  assert.deepEqual([...said], ['["publickey,password,keyboard-interactive"]']);
  assert.equal(bench.sessions.opened, 0);
  assert.deepEqual(
    bench.lines.filter((line) => line.message === "login refused").map((line) => line.reason),
    ["wrong password", "unknown account", "account disabled"],
  );
});

test("the attempt cap ends the connection, and a right password at the last attempt is in time", async (t) => {
  const bench = await startBench(t, { maxAuthAttempts: 3 });
  const methods = "publickey,password,keyboard-interactive";
  assert.deepEqual(await tryPasswords(bench.config, ["a", "b", PASSWORD, "c"]), [methods, methods, "ready"]);
  assert.deepEqual(await tryPasswords(bench.config, ["a", "b", "c", PASSWORD]), [methods, methods, ""]);
  await until("both connections end", () => bench.closed.length === 2);
  assert.deepEqual(bench.closed, ["client", "login-attempts"]);
});

test("a new attempt aborts a keyboard-interactive one, whose answer then counts for nothing", async (t) => {
  const bench = await startBench(t);
  const client = new ssh2.Client();
  t.after(() => client.destroy());
  client.on("error", () => {});
  const authHandler: AuthHandlerMiddleware = (_methods, _partial, next) =>
    next({
      type: "keyboard-interactive",
      username: "alice",
      prompt: () => next({ type: "password", username: "alice", password: PASSWORD }),
    });
  client.connect({ ...without(bench.config), authHandler });
  await once(client, "ready");
  assert.deepEqual(bench.logins, ["accepted password"]);
  assert.equal(bench.sessions.opened, 1);
});

test("a client may ask for the authentication service before each attempt, as paramiko does", async (t) => {
  const bench = await startBench(t);
  const client = new ssh2.Client();
  t.after(() => client.destroy());
  // The only way to make a client of ours do what paramiko does.
  const { _protocol: protocol } = client as unknown as { _protocol: { service(name: string): void } | undefined };
  assert.equal(protocol, undefined, "not there before connect");
  let calls = 0;
  const authHandler: AuthHandlerMiddleware = (_methods, _partial, next) => {
    calls++;
    if (calls === 1) next({ type: "password", username: "alice", password: "wrong" });
    else if (calls === 2) {
      (client as unknown as { _protocol: { service(name: string): void } })._protocol.service("ssh-userauth");
    } else next({ type: "password", username: "alice", password: PASSWORD });
  };
  client.connect({ ...without(bench.config), authHandler });
  await once(client, "ready");
  assert.deepEqual(bench.logins, ["refused password", "accepted password"]);
});

test("who doesn't log in within the grace time is cut off, with or without an identification", async (t) => {
  const bench = await startBench(t, { loginGraceMs: 1_000 });
  const silent = await bench.raw();
  const half = await bench.raw();
  half.write("SSH-2.0-x\r\n");
  const from = performance.now();
  await Promise.all([once(silent.resume(), "close"), once(half.resume(), "close")]);
  const took = performance.now() - from;
  assert.ok(took > 800 && took < 3_000, `${took} ms`);
  await until("both are counted", () => bench.closed.length === 2);
  assert.deepEqual(bench.closed, ["login-grace", "login-grace"]);
});

test("a login whose session is refused doesn't succeed", async (t) => {
  const bench = await startBench(t);
  bench.refuseSessions();
  await assert.rejects(logIn(t, bench.config));
  await until("the connection ends", () => bench.closed.length === 1);
  assert.equal(bench.closed[0], "session-refused");
  assert.match(String(endLine(bench)?.detail), /cut off/);
});

test("a connection that is gone when its password turns out right opens no session", async (t) => {
  const bench = await startBench(t);
  const client = new ssh2.Client();
  client.on("error", () => {});
  const authHandler: AuthHandlerMiddleware = (_methods, _partial, next) => {
    next({ type: "password", username: "alice", password: PASSWORD });
    setTimeout(() => client.destroy(), 1);
  };
  client.connect({ ...without(bench.config), authHandler });
  await until("the connection ends", () => bench.closed.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(bench.sessions.opened, bench.sessions.ended);
  assert.equal(bench.server.connections(), 0);
});
