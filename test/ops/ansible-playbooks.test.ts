import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { ROOT } from "../support/compose.js";

/** What must hold for every task and play of the collection, as they are written: nothing is run. */

const ANSIBLE = join(ROOT, "ansible");

type Written = Readonly<Record<string, unknown>>;

const read = (...path: string[]): Written[] => {
  const found: unknown = parse(readFileSync(join(ANSIBLE, ...path), "utf8"), {
    merge: true,
    customTags: [{ tag: "!unsafe", resolve: (text: string) => text }],
  });
  return Array.isArray(found) ? (found as Written[]) : [];
};

/** Tasks within blocks and plays, too. */
function flattened(entries: readonly Written[]): Written[] {
  const sections = ["pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always"];
  return entries.flatMap((entry) => {
    const inner = sections.flatMap((section) => (entry[section] as Written[] | undefined) ?? []);
    return inner.length === 0 ? [entry] : flattened(inner);
  });
}

const allTasks = readdirSync(ANSIBLE, { recursive: true, encoding: "utf8" })
  .filter((path) => /^(playbooks|roles\/[^/]+\/(tasks|handlers))\/.*\.yml$/.test(path))
  .flatMap((path) => flattened(read(path)).map((task) => ({ path, task })));

const plays = readdirSync(join(ANSIBLE, "playbooks"))
  .filter((name) => name.endsWith(".yml"))
  .flatMap((path) => read("playbooks", path).map((play) => ({ path, play })));

const nameOf = ({ path, task }: (typeof allTasks)[number]) => `${relative(ANSIBLE, join(ANSIBLE, path))}: ${task.name}`;

describe("the playbooks as they are written", () => {
  test("no module's arguments hold a secret without no_log: they go to the machine's log", () => {
    const secret =
      /lookup\('ansible\.builtin\.file', [^)]*(ca\.key|admin_token|cluster_key|'\/password'|\.key')|_upgrade_headers/;
    // Conditions and names of files aren't arguments.
    const argumentsOf = (task: Written) =>
      JSON.stringify(Object.entries(task).filter(([key]) => key.startsWith("ansible.builtin.")));
    const telling = allTasks.filter(({ task }) => secret.test(argumentsOf(task)));
    assert.ok(telling.length >= 6, "the pattern finds what is there");
    assert.deepEqual(telling.filter(({ task }) => task.no_log !== true).map(nameOf), []);
  });

  test("what is rendered reaches a file or a program as it is, also where it looks like a dictionary", () => {
    const asIs = allTasks.filter(({ task }) =>
      /"(?:stdin|content)":"\{\{ item\.\w+ (?:\| string )?\}\}"/.test(JSON.stringify(task)),
    );
    assert.ok(asIs.length >= 3, "the pattern finds what is there");
    assert.deepEqual(asIs.filter(({ task }) => !JSON.stringify(task).includes("| string }}")).map(nameOf), []);
  });

  test("a list keeps its order: newer Ansible's set filters give any, and a second run would change what is written", () => {
    const files = readdirSync(ANSIBLE, { recursive: true, encoding: "utf8" }).filter((path) =>
      /\.(yml|j2)$/.test(path),
    );
    assert.ok(files.length > 50);
    const sets = /\|\s*(difference|intersect|union|symmetric_difference)\b/;
    assert.deepEqual(
      files.filter((path) => sets.test(readFileSync(join(ANSIBLE, path), "utf8"))),
      [],
    );
  });

  test("a machine that is away is passed over as a whole: a role's tasks look at what its other tasks have seen there", () => {
    const acting = (play: Written) =>
      "roles" in play || flattened([play]).some((task) => "ansible.builtin.include_role" in task);
    const careless = plays.filter(({ play }) => play.ignore_unreachable === true && acting(play));
    assert.deepEqual(
      careless.map(({ path, play }) => `${path}: ${play.name}`),
      [],
    );
  });

  test("the others' firewalls let a new machine in before anything is started on it", () => {
    const started = ["storage", "etcd", "node", "balancer", "monitoring"];
    const rolesOf = (name: string) =>
      read("playbooks", name).flatMap(({ roles = [] }) => (roles as { role: string }[]).map(({ role }) => role));
    for (const name of ["site.yml", "add_node.yml", "replace_etcd_member.yml"]) {
      const roles = rolesOf(name);
      const first = Math.min(...started.map((role) => roles.indexOf(role)).filter((at) => at >= 0));
      assert.ok(roles.includes("firewall") && roles.indexOf("firewall") < first, `${name}: ${roles.join(", ")}`);
    }
  });

  test("an upgrade moves the active node's work only where that node is to be replaced", () => {
    const everywhere = ["upgrade.yml", "rollback.yml"].flatMap((name) => flattened(read("playbooks", name)));
    assert.deepEqual(
      everywhere.filter((task) => JSON.stringify(task).includes("switch.yml")),
      [],
    );
    const replacing = flattened(read("roles/upgrade/tasks/replace.yml")).map(
      (task) => task["ansible.builtin.include_tasks"],
    );
    assert.ok(replacing.includes("switch.yml") && replacing.indexOf("switch.yml") < replacing.indexOf("drain.yml"));
  });

  test("a dry run of a switch asks the product's own", () => {
    const switching = read("roles/upgrade/tasks/switch.yml").find(({ name }) => name === "Switch");
    assert.equal(switching?.check_mode, false);
    assert.match(JSON.stringify(switching), /\['--dry-run'\] if ansible_check_mode/);
  });

  test("the next balancer is restarted only when keepalived would give the addresses to this one", () => {
    const vars = parse(readFileSync(join(ANSIBLE, "roles/balancer/vars/main.yml"), "utf8")) as Written;
    const checks = readFileSync(join(ANSIBLE, "roles/balancer/templates/keepalived.conf.j2"), "utf8");
    for (const option of ["interval", "rise"]) {
      assert.match(checks, new RegExp(`^  ${option} {{ longshore_balancer_check_${option} }}$`, "m"));
      assert.equal(typeof vars[`longshore_balancer_check_${option}`], "number");
    }
    const last = read("roles/balancer/tasks/restart.yml").at(-1);
    const { argv = [] } = (last?.["ansible.builtin.command"] ?? {}) as { argv?: string[] };
    assert.deepEqual(argv.slice(3, 6), [
      "/usr/local/lib/longshore/balancer-health",
      "{{ longshore_balancer_check_rise + 1 }}",
      "{{ longshore_balancer_check_interval }}",
    ]);
    // As many checks as it is told, each must succeed.
    const exits = (check: string) => spawnSync("bash", ["-ec", argv[2] ?? "", check, "3", "0", "1"]).status;
    assert.deepEqual([exits("/bin/true"), exits("/bin/false")], [0, 1]);
  });

  test("keepalived is reloaded by what it has read, so that a run that was interrupted is picked up", () => {
    const tasks = read("roles/balancer/tasks/keepalived.yml");
    assert.deepEqual(
      tasks.filter((task) => "notify" in task).map(({ name }) => name),
      [],
    );
    const conditions = JSON.stringify(tasks.find(({ name }) => name === "Reload keepalived")?.when);
    assert.match(conditions, /longshore_balancer_keepalived_loaded\.rc != 0/);
    const [, noted] = /sha256sum ([^ ]*) >(\S+)'/.exec(
      readFileSync(join(ANSIBLE, "roles/balancer/files/keepalived.service.d/longshore.conf"), "utf8"),
    ) ?? ["", ""];
    const written = tasks.find(({ name }) => name === "Configure keepalived")?.["ansible.builtin.template"];
    assert.equal((written as Written | undefined)?.dest, noted);
  });

  test("nobody trusts an old authority before it is put away, whoever began the change", () => {
    const steps = read("playbooks/rotate_certificates.yml");
    const at = (name: string) => steps.findIndex((step) => step.name === name);
    assert.match(String(steps[at("Have nobody trust the old authority")]?.when), /ca-leaving\.pem'\) is file$/);
    assert.ok(at("Let go of the old authority") < at("Have nobody trust the old authority"));
    assert.equal(at("Put the old authority away"), steps.length - 1);
    assert.ok(at("Have nobody trust the old authority") < at("Put the old authority away"));
    // A host's own file has the authority, and the one that comes or goes; not one that leaves.
    assert.doesNotMatch(readFileSync(join(ANSIBLE, "roles/certificates/vars/main.yml"), "utf8"), /ca-leaving/);
  });

  test("systemd never gives a service up", () => {
    const units = readdirSync(ANSIBLE, { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".service.j2"))
      .map((path) => ({ path, text: readFileSync(join(ANSIBLE, path), "utf8") }))
      .filter(({ text }) => text.includes("Restart=always"));
    assert.ok(units.length >= 6);
    const limited = units.filter(({ text }) => !/^\[Unit\][^[]*^StartLimitIntervalSec=0$/m.test(text));
    assert.deepEqual(
      limited.map(({ path }) => path),
      [],
    );
  });

  test("a change of secrets is over on the controller only after every node has taken it", () => {
    const steps = flattened(read("playbooks/rotate_secrets.yml")).map((task) => JSON.stringify(task));
    const at = (text: string) => steps.findIndex((step) => step.includes(text));
    assert.ok(at('"key-drop"') >= 0 && at('"key-drop"') < at('"key-done"'));
    assert.ok(at('"new-token"') >= 0 && at('"new-token"') < at('"Wait until the node takes it"'));
    assert.ok(at('"Wait until the node takes it"') < at('"token-done"'));
  });

  test("a node that is taken out leaves nothing behind that an upgrade has kept", () => {
    const vars = parse(readFileSync(join(ANSIBLE, "roles/upgrade/vars/main.yml"), "utf8")) as Written;
    const removed = read("roles/node/tasks/remove.yml").flatMap(({ loop = [] }) => loop as string[]);
    assert.ok(removed.includes(String(vars.longshore_upgrade_kept)), removed.join("\n"));
  });

  test("uninstall knows every directory of data that a role makes", () => {
    const dirs = (text: string) => new Set(text.match(/\/var\/lib\/longshore[a-z-]*/g));
    const made = readdirSync(join(ANSIBLE, "roles"), { recursive: true, encoding: "utf8" })
      .filter((path) => /\/(defaults|vars)\/main\.yml$/.test(path))
      .flatMap((path) => [...dirs(readFileSync(join(ANSIBLE, "roles", path), "utf8"))]);
    assert.ok(made.length >= 6);
    const removed = dirs(readFileSync(join(ANSIBLE, "playbooks/uninstall.yml"), "utf8"));
    // A brick holds partners' files, which stay always.
    assert.deepEqual(
      made.filter((path) => path !== "/var/lib/longshore-brick" && !removed.has(path)),
      [],
    );
  });
});
