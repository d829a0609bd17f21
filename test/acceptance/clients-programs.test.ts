import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { lftp } from "../support/clients/lftp.js";
import { learnHostKey, remote, scp, sftp, sshSettings } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { rclone } from "../support/clients/rclone.js";
import { failed, type Outcome, run, succeeded } from "../support/clients/run.js";
import { cannotMountSshfs, type Mounted, mountSshfs } from "../support/clients/sshfs.js";
import { ensurePackages } from "../support/packages.js";
import { type Site, startSite } from "../support/site.js";

/** Programs from Debian that work on a remote tree as if it were their own: what they ask of a server beyond put and get. */

let site: Site;

before(async () => {
  ensureClients("sftp", "scp", "lftp", "rclone", "psftp", "curl", "ssh-keygen", "ssh-keyscan");
  ensurePackages({ restic: "restic", pscp: "putty-tools", rsync: "rsync" });
  site = await startSite();
});
after(async () => {
  await site?.stop();
});

function same(left: string, right: string): void {
  assert.equal(sha256OfFileSync(left), sha256OfFileSync(right), `${left} and ${right}`);
}

function sameTrees(left: string, right: string): void {
  const names = (root: string) => readdirSync(root, { recursive: true }).map(String).sort();
  assert.deepEqual(names(left), names(right));
  for (const name of names(left)) if (statSync(`${left}/${name}`).isFile()) same(`${left}/${name}`, `${right}/${name}`);
}

const FILES = ["empty", "one", "with space", "sub/zwei", "sub/deeper/三", "sub/deeper/it's [a] *star*"];

function makeTree(partner: Partner, name: string): string {
  const root = partner.directory(name);
  mkdirSync(`${root}/sub/deeper`, { recursive: true });
  mkdirSync(`${root}/hollow`);
  for (const [at, file] of FILES.entries()) writeContent(`${root}/${file}`, at * 30_011);
  utimesSync(`${root}/one`, 1_000_000_000, 1_000_000_000);
  chmodSync(`${root}/one`, 0o640);
  return root;
}

describe("OpenSSH's sftp, every command", () => {
  test("of its manual, in one batch", async () => {
    const partner = await Partner.add(site, "every");
    const root = makeTree(partner, "tree");
    const content = writeContent(partner.local("file"), 100_003);
    writeFileSync(partner.local("file-part"), content.subarray(0, 40_000));
    writeFileSync(partner.local("file-part2"), content.subarray(0, 50_000));
    const outcome = succeeded(
      await sftp(partner, [
        "version",
        "pwd",
        "lpwd",
        "mkdir dir",
        "cd dir",
        "pwd",
        "cd ..",
        "put -p file",
        "put file-part dir/second",
        "put -a file dir/second",
        "get -a file file-part",
        "reget file file-part2",
        "get -p file file-back",
        "put -R tree",
        "get -R tree tree-back",
        "ls",
        "ls -1",
        "ls -l",
        "ls -la",
        "ls -lt",
        "ls -lS",
        "ls -lr",
        "ls -lh",
        "ls -n",
        "ls -f",
        "ls tree/*",
        "lls",
        "chmod 600 file",
        "chmod -h 640 file",
        "-chown 1000 file",
        "-chgrp 1000 file",
        "df",
        "df -h",
        "df -i",
        "ln file hard",
        "copy file copied",
        "cp copied copied2",
        "rename copied2 renamed",
        "rename -l renamed renamed2",
        "lmkdir made-here",
        "lumask 022",
        "progress",
        "rm hard",
        "rm dir/*",
        "rmdir dir",
        "?",
        "!true",
        "bye",
      ]),
    );
    assert.match(outcome.stdout, /SFTP protocol version 3/);
    for (const name of ["file-part", "file-part2", "file-back"]) same(partner.local("file"), partner.local(name));
    same(partner.local("file"), partner.stored("renamed2"));
    assert.equal(statSync(partner.stored("file")).mode & 0o777, 0o640);
    sameTrees(root, partner.stored("tree"));
    sameTrees(root, partner.local("tree-back"));
    const refused = failed(await sftp(partner, ["ln -s file symlink"]));
    assert.match(refused.stderr, /symlink|unsupported/i);
    failed(await sftp(partner, ["rename -l file renamed2"]));
    succeeded(await sftp(partner, ["rename file renamed2"]));
  });
});

describe("scp", () => {
  test("-rp both ways, patterns on both sides, a file to a directory and to a name, -3 between two accounts", async () => {
    const partner = await Partner.add(site, "scp");
    const other = await Partner.add(site, "scp-other");
    const root = makeTree(partner, "tree");
    for (let i = 0; i < 5; i++) writeContent(partner.local(`set-${i}.dat`), 1_000 * i);
    succeeded(await scp(partner, ["-r", "-p", "tree", remote(partner, "tree")]));
    succeeded(await scp(partner, ["-s", "-r", "-p", remote(partner, "tree"), "tree-back"]));
    sameTrees(root, partner.stored("tree"));
    sameTrees(root, partner.local("tree-back"));
    assert.equal(statSync(partner.stored("tree", "one")).mtimeMs, 1_000_000_000_000);
    assert.equal(statSync(partner.stored("tree", "one")).mode & 0o777, 0o640);
    const set = [0, 1, 2, 3, 4].map((i) => `set-${i}.dat`);
    succeeded(await sftp(partner, ["mkdir into"]));
    succeeded(await scp(partner, [...set, remote(partner, "into/")]));
    partner.directory("fetched");
    succeeded(await scp(partner, [remote(partner, "into/set-[1-3].dat"), "fetched/"]));
    assert.deepEqual(readdirSync(partner.local("fetched")).sort(), ["set-1.dat", "set-2.dat", "set-3.dat"]);
    failed(await scp(partner, [remote(partner, "into/nothing-*"), "fetched/"]));
    failed(await scp(partner, ["set-1.dat", remote(partner, "nowhere/set-1.dat")]));
    succeeded(await scp(partner, ["-3", remote(partner, "tree/one"), remote(other, "from-partner")]));
    same(partner.local("tree", "one"), other.stored("from-partner"));
  });

  test("-O and curl's scp:// are told why they are refused", async () => {
    const partner = await Partner.add(site, "scp-old");
    writeContent(partner.local("one"), 1_000);
    const outcome = failed(await scp(partner, ["-O", "one", remote(partner, "one")]));
    assert.match(outcome.stderr, /scp -s|SFTP/i);
    assert.ok(!existsSync(partner.stored("one")));
    const url = `scp://${partner.host}:${partner.port}/one`;
    failed(
      await run("curl", [
        "-q",
        "-k",
        "-sS",
        "-u",
        `${partner.name}:${partner.password}`,
        "-T",
        partner.local("one"),
        url,
      ]),
    );
    assert.ok(!existsSync(partner.stored("one")));
  });

  test("pscp sends and fetches trees over SFTP, and keeps times", async () => {
    const partner = await Partner.add(site, "pscp");
    const fingerprint = await learnHostKey(partner);
    const root = makeTree(partner, "tree");
    writeFileSync(partner.local(".secret"), partner.password, { mode: 0o600 });
    const pscp = (...args: string[]): Promise<Outcome> =>
      run(
        "pscp",
        ["-batch", "-sftp", "-P", `${partner.port}`, "-pwfile", ".secret", "-hostkey", fingerprint, ...args],
        {
          cwd: partner.work,
          env: { ...process.env, HOME: partner.work },
        },
      );
    succeeded(await pscp("-r", "-p", "tree", remote(partner, "")));
    // It takes a reply out of turn for the end of the connection, and they come out of turn now and then only.
    for (let round = 0; round < 8; round += 1) {
      rmSync(partner.local("tree-back"), { recursive: true, force: true });
      succeeded(await pscp("-r", "-p", remote(partner, "tree"), "tree-back"));
      sameTrees(root, partner.local("tree-back"));
    }
    sameTrees(root, partner.stored("tree"));
    assert.match(succeeded(await pscp("-ls", remote(partner, "tree"))).stdout, / one$/m);
  });
});

describe("lftp, its further ways", () => {
  test("parallel mirrors, pieces side by side, temporary names, continued downloads, find, du, chmod -R, rm -r", async () => {
    const partner = await Partner.add(site, "lftp-more");
    const root = makeTree(partner, "tree");
    for (let i = 0; i < 60; i++) writeContent(`${root}/many-${i}`, 5_000 + i * 777);
    const large = writeContent(partner.local("large"), 12_000_001);
    writeFileSync(partner.local("large-half"), large.subarray(0, 5_000_000));
    succeeded(
      await lftp(
        partner,
        [
          "mirror -R --parallel=6 tree tree",
          "mirror --parallel=4 tree tree-back",
          "put large",
          "pget -n 4 large -o large-pieces",
          "get -c large -o large-half",
          "mirror -R --only-newer --delete tree tree",
          "find tree",
          "du -a tree",
          "chmod -R u+rw,go-rwx tree/sub",
          "cls -l tree",
          "cat tree/one > catted",
        ],
        { settings: ["xfer:use-temp-file yes", "xfer:temp-file-name *.in-progress"] },
      ),
    );
    sameTrees(root, partner.stored("tree"));
    sameTrees(root, partner.local("tree-back"));
    same(partner.local("large"), partner.stored("large"));
    same(partner.local("large"), partner.local("large-pieces"));
    same(partner.local("large"), partner.local("large-half"));
    assert.equal(readdirSync(partner.stored()).filter((name) => name.includes("in-progress")).length, 0);
    succeeded(await lftp(partner, ["rm -r tree", "glob -f rm l*"]));
    assert.deepEqual(readdirSync(partner.stored()), []);
  });
});

describe("rclone, its further ways", () => {
  test("sync with much at once, check both ways, move, about, size, touch, cat with a range, purge", async () => {
    const partner = await Partner.add(site, "rclone-more");
    await learnHostKey(partner);
    const root = makeTree(partner, "tree");
    for (let i = 0; i < 100; i++) writeContent(`${root}/many-${i}`, 2_000 + i * 99);
    writeContent(`${root}/large`, 9_000_001);
    const busy = ["--transfers", "8", "--checkers", "16", "--sftp-concurrency", "64", "--sftp-chunk-size", "255k"];
    succeeded(await rclone(partner, ["sync", ...busy, "--create-empty-src-dirs", "tree", "site:tree"]));
    sameTrees(root, partner.stored("tree"));
    succeeded(await rclone(partner, ["check", ...busy, "--download", "tree", "site:tree"]));
    succeeded(await rclone(partner, ["sync", ...busy, "--create-empty-src-dirs", "site:tree", "tree-back"]));
    sameTrees(root, partner.local("tree-back"));
    assert.match(succeeded(await rclone(partner, ["about", "site:"])).stdout, /Free:/);
    assert.match(succeeded(await rclone(partner, ["size", "site:tree"])).stdout, /Total objects: 107/);
    succeeded(await rclone(partner, ["touch", "-t", "2001-09-09T01:46:40", "site:tree/many-1"]));
    assert.equal(statSync(partner.stored("tree", "many-1")).mtimeMs, 1_000_000_000_000);
    const piece = succeeded(await rclone(partner, ["cat", "--offset", "100", "--count", "50", "site:tree/large"], {}));
    assert.ok(piece.stdout.length > 0);
    succeeded(await rclone(partner, ["move", "site:tree/sub", "site:elsewhere"]));
    same(`${root}/sub/zwei`, partner.stored("elsewhere", "zwei"));
    succeeded(await rclone(partner, ["purge", "site:tree"]));
    assert.ok(!existsSync(partner.stored("tree")));
  });
});

describe("restic keeps a repository here", () => {
  test("init, two backups side by side, check with all data, restore, forget and prune", async () => {
    const partner = await Partner.add(site, "restic");
    const root = makeTree(partner, "tree");
    writeContent(`${root}/large`, 20_000_001);
    const ssh = sshSettings(partner)
      .map((setting) => `-o ${setting}`)
      .join(" ");
    const target = `${partner.name}@${partner.host}`;
    const restic = (...args: string[]): Promise<Outcome> =>
      run(
        "restic",
        [
          ...["-r", `sftp:${target}:/repository`, "--no-cache"],
          ...["-o", `sftp.command=ssh -F /dev/null ${ssh} -p ${partner.port} ${target} -s sftp`],
          ...args,
        ],
        { cwd: partner.work, env: { ...process.env, RESTIC_PASSWORD: "a password" }, deadlineMs: 120_000 },
      );
    succeeded(await restic("init"));
    writeContent(`${root}/other`, 3_000_000, "other");
    for (const done of await Promise.all([restic("backup", "tree"), restic("backup", "tree/sub")])) succeeded(done);
    writeContent(`${root}/large`, 20_000_001, "changed");
    succeeded(await restic("backup", "tree"));
    succeeded(await restic("check", "--read-data"));
    succeeded(await restic("restore", "latest", "--path", root, "--target", "restored"));
    sameTrees(root, partner.local("restored", "tree"));
    succeeded(await restic("forget", "--keep-last", "1", "--prune"));
    succeeded(await restic("check"));
  });
});

describe("sshfs", async () => {
  let partner: Partner;
  let mounted: Mounted | undefined;
  const skip = await cannotMountSshfs();

  before(async () => {
    partner = await Partner.add(site, "sshfs");
    if (skip === false) mounted = await mountSshfs(partner);
  });
  after(() => mounted?.unmount());

  const shell = (script: string) =>
    run("bash", ["-euo", "pipefail", "-c", script], {
      cwd: partner.work,
      env: { ...process.env, M: mounted?.point ?? "" },
      deadlineMs: 120_000,
    });

  test("cp, mv over a file, append, truncate, sed -i, df, find, rm -r as on a disk", { skip }, async () => {
    const root = makeTree(partner, "tree");
    succeeded(
      await shell(`
        cp -a tree "$M/tree"
        diff -r tree "$M/tree"
        test "$(stat -c %Y "$M/tree/one")" = 1000000000
        cp -a "$M/tree" tree-back
        diff -r tree tree-back
        echo first > "$M/text"
        echo second >> "$M/text"
        test "$(cat "$M/text")" = "first
second"
        sed -i s/first/FIRST/ "$M/text"
        grep -q FIRST "$M/text"
        truncate -s 3 "$M/text"
        test "$(cat "$M/text")" = FIR
        echo new > "$M/new"
        mv "$M/new" "$M/text"
        test "$(cat "$M/text")" = new
        df "$M" > /dev/null
        test "$(find "$M/tree" -type f | wc -l)" = ${FILES.length}
        dd if=tree/one of="$M/random" bs=1000 2> /dev/null
        printf XYZ | dd of="$M/random" bs=1 seek=10000 conv=notrunc 2> /dev/null
        cp tree/one patched; printf XYZ | dd of=patched bs=1 seek=10000 conv=notrunc 2> /dev/null
        cmp patched "$M/random"
        rm -r "$M/tree"
        test ! -e "$M/tree"
      `),
    );
    assert.ok(existsSync(root));
  });

  test("rsync -a, with --inplace and --partial, and a second run that changes nothing", { skip }, async () => {
    const root = makeTree(partner, "synced");
    writeContent(`${root}/large`, 6_000_001);
    succeeded(
      await shell(`
        rsync -a --no-owner --no-group synced/ "$M/synced/"
        diff -r synced "$M/synced"
        printf changed | dd of=synced/large bs=1 seek=3000000 conv=notrunc 2> /dev/null
        rsync -a --no-owner --no-group --inplace --no-whole-file --ignore-times synced/ "$M/synced/"
        cmp synced/large "$M/synced/large"
        rsync -a --no-owner --no-group --partial --append-verify synced/ "$M/synced/"
        rsync -a --no-owner --no-group --itemize-changes synced/ "$M/synced/" | tee changes
        test ! -s changes
      `),
    );
  });

  test("git works in it, and 10,000 entries are listed", { skip }, async () => {
    mkdirSync(partner.stored("crowd"), { recursive: true });
    for (let i = 0; i < 10_000; i++) writeFileSync(partner.stored("crowd", `entry-${i}`), "");
    succeeded(
      await shell(`
        test "$(ls "$M/crowd" | wc -l)" = 10000
        export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q --bare "$M/repository.git"
        git init -q work; cd work
        for i in 1 2 3; do echo $i > file-$i; git add .; git commit -qm "$i"; git push -q "$M/repository.git" HEAD:main; done
        git clone -q -b main "$M/repository.git" ../cloned
        test "$(cat ../cloned/file-3)" = 3
      `),
    );
  });
});
