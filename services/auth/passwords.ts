import { parseOptions } from "@node-rs/argon2";
import { isCode, LongshoreError } from "#lib/errors.js";
import { Semaphore } from "#lib/semaphore.js";
import { PasswordWorkers } from "./password-workers.js";

/** OWASP's argon2id parameters: 19 MiB, 2 passes, 1 lane. `algorithm` 2 is argon2id. */
const ARGON2ID = 2;
export const MEMORY_KIB = 19_456;
export const PASSES = 2;
export const LANES = 1;

/** Brute force must not be able to take every processor, nor the memory of many checks, nor to queue without a bound. */
const CONCURRENT_CHECKS = 2;
const QUEUED_CHECKS = 256;

/** A stored hash that costs more than these would let one login hold a thread for seconds, or the process's memory. */
const MAX_MEMORY_KIB = 262_144;
const MAX_PASSES = 16;

const checks = new Semaphore(CONCURRENT_CHECKS, QUEUED_CHECKS);
/** Apart from the checks, so that an administrator can set a password while the node is under brute force. */
const hashings = new Semaphore(1, 64);
const workers = new PasswordWorkers();

/**
 * Compared where there is no account or no password, so that both cost what a wrong password costs, and the time of a
 * refusal doesn't tell which accounts exist. It is the hash of 32 random bytes that nobody kept.
 */
export const DUMMY_HASH =
  "$argon2id$v=19$m=19456,t=2,p=1$NfSgtIMgnpzIn24+aTz5rw$6qjHoo+lLBMWxpbk1JcujhStRENFEXAXGeNJVaKY1EA";

/**
 * The argon2id hash of a password in PHC form. Rejects with "invalid-argument" for an empty one, with "busy" where too
 * many wait.
 */
export function hashPassword(password: string | Buffer): Promise<string> {
  if (password.length === 0) {
    return Promise.reject(new LongshoreError("invalid-argument", "an empty password can't be set"));
  }
  const options = { algorithm: ARGON2ID, memoryCost: MEMORY_KIB, timeCost: PASSES, parallelism: LANES };
  return hashings.run(async () => {
    const { hash, error } = await workers.run({ kind: "hash", options, password: Buffer.from(password) });
    if (hash === undefined) throw new LongshoreError("io", `the password can't be hashed: ${error}`);
    return hash;
  });
}

/** `unusable`: the stored hash is no argon2id hash, or one that is too dear to check. `busy`: it can't be checked now. */
export type PasswordMatch = "match" | "mismatch" | "busy" | "unusable";

/**
 * Checks a password against a stored hash; without one it never matches but takes the same time. Never rejects. `onFault`
 * hears why it is `busy` though no queue is full: then it may be so for everybody, and without an end.
 */
export async function verifyPassword(
  storedHash: string | undefined,
  password: Buffer,
  onFault?: (error: unknown) => void,
): Promise<PasswordMatch> {
  const usable = storedHash !== undefined && isUsable(storedHash);
  try {
    const against = usable ? storedHash : DUMMY_HASH;
    const { matches, error } = await checks.run(() => workers.run({ kind: "verify", hash: against, password }));
    if (error !== undefined) return "unusable";
    if (storedHash !== undefined && !usable) return "unusable";
    return matches && usable ? "match" : "mismatch";
  } catch (error) {
    // Too many wait, or the thread ended or can't begin (no memory): nothing was found out about this password.
    if (!isCode(error, "busy")) onFault?.(error);
    return "busy";
  }
}

function isUsable(storedHash: string): boolean {
  try {
    const options = parseOptions(storedHash);
    const algorithm: number = options.algorithm;
    return algorithm === ARGON2ID && options.memoryCost <= MAX_MEMORY_KIB && options.timeCost <= MAX_PASSES;
  } catch {
    return false;
  }
}
