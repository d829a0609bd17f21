import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parse } from "yaml";
import { run, tell } from "../support/clients/run.js";
import { ROOT } from "../support/compose.js";
import { ensurePackages } from "../support/packages.js";

/**
 * Where the controller keeps the archive of images that every machine loads as root (role engine, build.yml). The role's own
 * tasks up to the one that writes it, on this host: no engine, no machine.
 */

const ENGINE = join(ROOT, "ansible/roles/engine");

type Task = Readonly<Record<string, unknown>>;

describe("the archive of images on the controller", () => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-archive-"));
  const at = (name: string) => join(directory, name);

  before(() => ensurePackages({ "ansible-playbook": "ansible" }));
  after(() => rmSync(directory, { recursive: true, force: true }));

  test("is written only where nobody else can have put one", async () => {
    mkdirSync(at("own"), { mode: 0o700 });
    const planted = ["wide", "linked"];
    mkdirSync(at("wide"));
    chmodSync(at("wide"), 0o777);
    symlinkSync(at("own"), at("linked"));
    if (process.getuid?.() === 0) {
      mkdirSync(at("foreign"), { mode: 0o700 });
      chownSync(at("foreign"), 65_534, 65_534);
      planted.push("foreign");
    }
    const tasks = parse(readFileSync(join(ENGINE, "tasks/build.yml"), "utf8").replaceAll("!unsafe ", "")) as Task[];
    const copying = tasks.at(-1)?.block as Task[];
    const writing = copying.findIndex(({ name }) => name === "Write the images to an archive on the controller");
    assert.ok(writing > 0);
    const play = {
      hosts: "all",
      gather_facts: false,
      connection: "local",
      vars_files: [join(ENGINE, "vars/main.yml")],
      tasks: [
        ...copying.slice(0, writing),
        { "ansible.builtin.debug": { msg: "written to {{ longshore_engine_work | dirname }}" } },
      ],
    };
    writeFileSync(at("play.json"), JSON.stringify([play]));
    const hosts = Object.fromEntries(["new", "own", ...planted].map((name) => [name, { here: at(name) }]));
    writeFileSync(at("inventory.json"), JSON.stringify({ all: { hosts } }));
    const env = { ...process.env, LC_ALL: "C.UTF-8", ANSIBLE_LOCAL_TEMP: at("tmp"), ANSIBLE_STDOUT_CALLBACK: "json" };
    const vars = {
      longshore_engine_missing: [],
      longshore_engine_there: {},
      longshore_engine_work_dir: "{{ here }}",
    };
    const args = ["-i", at("inventory.json"), at("play.json"), "-e", JSON.stringify(vars)];
    const outcome = await run("ansible-playbook", args, { env, deadlineMs: 120_000 });
    const { stats } = JSON.parse(outcome.stdout) as { stats: Record<string, { failures: number }> };
    const refused = Object.keys(stats).filter((name) => stats[name]?.failures !== 0);
    assert.deepEqual(refused.sort(), planted.sort(), tell(outcome));
    assert.match(outcome.stdout, /isn't a directory that only the user who runs this may use/);
    assert.equal(statSync(at("new")).mode & 0o777, 0o700);
  });
});
