import { parentPort } from "node:worker_threads";
import { hashSync, verifySync } from "@node-rs/argon2";
import type { PasswordAnswer, PasswordTask } from "./password-workers.js";

/**
 * A thread that does nothing but argon2 (password-workers.ts), one task at a time. Its priority is a normal one: the kernel's
 * fair share is enough for commits, and a lower one would make logins wait for whatever else the host does.
 */

parentPort?.on("message", (task: PasswordTask) => {
  let answer: PasswordAnswer;
  try {
    const password = Buffer.from(task.password);
    answer =
      task.kind === "verify"
        ? { matches: verifySync(task.hash, password) }
        : { hash: hashSync(password, task.options) };
  } catch (error) {
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(answer);
});
