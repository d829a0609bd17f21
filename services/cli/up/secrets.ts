import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { generateHostKey } from "#config/host-keys.js";
import { systemCode } from "#lib/errors.js";
import { makePrivateDirectory, readIfThere, readOrCreate, writeAtomically } from "../files.js";
import type { SiteLayout } from "../layout.js";
import { kindOfKey, publicKeyOf } from "./ssh-wire.js";

/** What a partner logs in with: made at random for each site, kept from one `up` to the next. */
export interface Credentials {
  readonly name: string;
  readonly password: string;
  readonly privateKeyFile: string;
  /** One line, as in authorized_keys. */
  readonly publicKey: string;
}

/** Makes the site's own secrets where they aren't there yet. Returns the admin token. */
export function makeSiteSecrets(layout: SiteLayout): string {
  makePrivateDirectory(join(layout.root, "secrets"));
  readOrCreate(layout.clusterKey, () => `${randomBytes(32).toString("base64")}\n`);
  return readOrCreate(layout.adminToken, () => `${randomBytes(32).toString("base64url")}\n`).trim();
}

/** The account's credentials, made where they aren't there yet. */
export async function accountCredentials(layout: SiteLayout, name: string): Promise<Credentials> {
  const directory = join(layout.accounts, name);
  makePrivateDirectory(directory);
  const password = readOrCreate(join(directory, "password"), () => `${randomPassword()}\n`).trim();
  const privateKeyFile = join(directory, "id_ed25519");
  // Without a passphrase, in the form that every client reads; a partner's key is made as a host's.
  const there = readIfThere(privateKeyFile);
  const privateKey = there ?? (await generateHostKey("ed25519"));
  const blob = publicKeyOf(privateKey);
  const publicKey = `${kindOfKey(blob)} ${blob.toString("base64")} ${name}@longshore`;
  if (there === undefined) {
    writeAtomically(privateKeyFile, privateKey);
    writeAtomically(`${privateKeyFile}.pub`, `${publicKey}\n`);
  }
  return { name, password, privateKeyFile, publicKey };
}

/** The accounts that this site has credentials of. */
export function knownAccounts(layout: SiteLayout): string[] {
  try {
    return readdirSync(layout.accounts).sort();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** 120 random bits, in letters that need no quoting. */
export function randomPassword(): string {
  return randomBytes(15).toString("base64url");
}
