import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseMirrors, slimFiles, staleEngine } from "./engine-plan.js";

describe("the plan of the test engine", () => {
  test("mirrors are those of apt's configuration, whatever else stands there", () => {
    const sites = [
      "https://packages.example.net/apt",
      "http://mirror.example.net/debian-security",
      "http://mirror.example.net/debian/",
      "http://mirror.example.net/debian",
    ].join("\n");
    assert.deepEqual(parseMirrors(sites), {
      main: "http://mirror.example.net/debian",
      security: "http://mirror.example.net/debian-security",
    });
    assert.deepEqual(parseMirrors("http://mirror.example.net/debian\n"), { main: "http://mirror.example.net/debian" });
  });

  test("without a mirror of Debian it says so", () => {
    assert.throws(() => parseMirrors("http://mirror.example.net/ubuntu\n"), /no mirror of Debian/);
  });

  test("the base image updates from the same mirrors", () => {
    const main = "http://mirror.example.net/debian";
    const lines = (security?: string) =>
      slimFiles("trixie", { main, ...(security === undefined ? {} : { security }) }).written["etc/apt/sources.list"];
    assert.equal(lines(), `deb ${main} trixie main\ndeb ${main} trixie-updates main\n`);
    assert.match(lines(`${main}-security`) ?? "", /debian-security trixie-security main\n$/);
  });

  test("a pid file is stale unless its process is an engine", () => {
    const commands = new Map([
      [7, "dockerd\n"],
      [8, "containerd\n"],
      [9, "bash\n"],
    ]);
    const stale = (text: string) => staleEngine(text, (pid) => commands.get(pid));
    assert.deepEqual(["7", "8\n", "9", "10", "", "x"].map(stale), [false, false, true, true, true, true]);
  });
});
