import type { Command } from "commander";
import { z } from "zod";
import { askAdmin } from "../admin-client.js";
import { CliError, EXIT } from "../errors.js";
import { cell, json, table } from "../output.js";
import { adminAccess } from "../site-access.js";
import { entryPath, readInput, writeEntry } from "./entries.js";
import { publicKeyOf } from "./private-key.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const keysSchema = z.looseObject({
  keys: z.array(z.looseObject({ id: z.string(), publicKey: z.string(), hasSecret: z.boolean() })),
});

interface AddOptions extends ClientOptions {
  readonly privateKey?: string;
  readonly publicKey?: string;
  readonly description?: string;
}

export function addKeyCommands(program: Command): void {
  const key = program.command("key").description("named SSH keys, for connections that the site makes");
  withSite(key.command("list").description("all keys; private parts are never shown")).action(list);
  withSite(
    key
      .command("add")
      .description("store a key; its private part is sealed with the cluster key")
      .argument("<id>")
      .option("--private-key <file>", "private key without a passphrase, - for standard input")
      .option("--public-key <file>", "its .pub file (only needed where the private key isn't in OpenSSH's form)")
      .option("--description <text>"),
  ).action(add);
  withSite(key.command("remove").description("remove a key that no connection profile uses").argument("<id>")).action(
    remove,
  );
}

async function list(options: ClientOptions): Promise<void> {
  const { keys } = answerAs(keysSchema, await askAdmin(adminAccess(options), "/api/v1/keys"));
  if (options.output === "json") process.stdout.write(json(keys));
  else
    process.stdout.write(
      table(
        ["ID", "TYPE", "PRIVATE", "DESCRIPTION"],
        keys.map(({ id, publicKey, hasSecret, description }) => [
          id,
          publicKey.split(" ")[0] ?? "",
          hasSecret ? "yes" : "no",
          cell(description),
        ]),
      ),
    );
}

async function add(id: string, options: AddOptions): Promise<void> {
  const secret = options.privateKey === undefined ? undefined : readInput(options.privateKey);
  const publicKey =
    options.publicKey === undefined ? secret && publicKeyOf(secret) : readInput(options.publicKey).trim();
  if (publicKey === undefined) {
    throw new CliError(EXIT.usage, "give --private-key in OpenSSH's form, or --public-key with the .pub file");
  }
  const { description } = options;
  const written = await writeEntry(adminAccess(options), entryPath("keys", id), undefined, {
    publicKey,
    ...(secret === undefined ? {} : { secret }),
    ...(description === undefined ? {} : { description }),
  });
  process.stdout.write(options.output === "json" ? json(written) : `stored ${id}\n`);
}

async function remove(id: string, options: ClientOptions): Promise<void> {
  await askAdmin(adminAccess(options), entryPath("keys", id), { method: "DELETE" });
  process.stdout.write(options.output === "json" ? json({ removed: id }) : `removed ${id}\n`);
}
