import { hostPort } from "#lib/address.js";
import { size } from "../output.js";
import { certificates, endingSoon, mendOfTls } from "./certificates.js";
import type { AdminFacts, BalancerFacts, Facts, Finding, FrontFacts, NodeFacts, NodeStatus } from "./facts.js";
import { storageTrial } from "./storage-trial-check.js";

/** Everything here is pure: from what was seen to what it means and how to mend it. */

/** Nodes' clocks apart by more than this are worth a word; logs of two nodes can't be read together any more. */
const CLOCK_WARN_MS = 1_000;
/** By more than this, partials are swept and certificates judged at the wrong time. */
const CLOCK_FAIL_MS = 60_000;
/** A change is everywhere within a second; the rest is for a busy machine. */
const LAG_WARN_MS = 2_000;
/** As the alert "storage nearly full". */
const FREE_WARN_SHARE = 0.1;
const FREE_WARN_BYTES = 1024 ** 3;

export function judge(facts: Facts): Finding[] {
  return [
    ...adminApi(facts.nodes),
    ...facts.admins.map(adminAddress),
    ...nodeStates(facts.nodes),
    ...readiness(facts.nodes),
    ...configuration(facts.nodes),
    ...certificates(facts.nodes),
    ...versions(facts.nodes),
    ...clocks(facts.nodes),
    ...members(facts),
    ...facts.balancers.map((balancer) => balancerState(balancer, facts.nodes)),
    ...facts.fronts.map(ssh),
    ...hostKeys(facts.fronts),
    ...facts.fronts.flatMap(clientAddress),
    ...storage(facts.nodes),
    ...sharedStorage(facts.nodes),
    ...storageTrial(facts.trial),
    ...secrets(facts),
  ];
}

interface Told {
  readonly name: string;
  readonly status: NodeStatus;
  readonly askedAt: number;
  readonly roundTripMs: number;
}

/** The nodes that told their status. */
function told(nodes: readonly NodeFacts[]): Told[] {
  return nodes.flatMap(({ name, answer }) => (answer.kind === "status" ? [{ name, ...answer }] : []));
}

function adminApi(nodes: readonly NodeFacts[]): Finding[] {
  return nodes.filter(({ expected, answer }) => expected || answer.kind !== "silent").map(nodeAnswer);
}

function nodeAnswer({ name: subject, adminUrl, answer }: NodeFacts): Finding {
  const check = "admin API";
  switch (answer.kind) {
    case "status": {
      const seen = `answers in ${Math.round(answer.roundTripMs)} ms, takes the token`;
      return { check, subject, result: "ok", seen };
    }
    case "denied": {
      const mend =
        "give the token that this node's adminTokenFile holds, or put the site's token there: the node takes it within a second";
      return { check, subject, result: "fail", seen: `${adminUrl} refuses the token`, mend };
    }
    case "odd": {
      const mend = "is this a Longshore node of the same version?";
      return { check, subject, result: "fail", seen: `${adminUrl}: ${answer.problem}`, mend };
    }
    case "silent": {
      const mend =
        mendOfTls(answer.problem) ??
        "the node is down or out of reach: start it again, and look at its log (runbook: node-killed)";
      return { check, subject, result: "fail", seen: `${adminUrl} doesn't answer: ${answer.problem}`, mend };
    }
  }
}

function adminAddress({ name: subject, url, problem, endsAt }: AdminFacts): Finding {
  const check = "admin API";
  const ending = problem === undefined && endsAt !== undefined ? endingSoon(endsAt) : undefined;
  if (ending !== undefined) {
    const mend = "renew the balancer's certificate, and restart or reload HAProxy: it reads the file only then";
    return { check, subject, result: ending.result, seen: `${url}: its certificate ${ending.words}`, mend };
  }
  if (problem === undefined) return { check, subject, result: "ok", seen: `${url} leads to a node` };
  const mend =
    mendOfTls(problem) ?? "start the balancer, and see that a node is up; each node's own address serves, too";
  return { check, subject, result: "fail", seen: `${url}: ${problem}`, mend };
}

function nodeStates(nodes: readonly NodeFacts[]): Finding[] {
  const check = "node";
  return told(nodes).map(({ name: subject, status: { node } }): Finding => {
    const why = node.reasons.length === 0 ? "" : `: ${node.reasons.join("; ")}`;
    const seen = `${node.state}${why}`;
    if (node.state === "ready" || node.state === "passive") return { check, subject, result: "ok", seen };
    if (node.state === "draining") {
      const mend = `it takes no new sessions by somebody's wish: longshore node undrain ${subject}, when that is over`;
      return { check, subject, result: "warn", seen, mend };
    }
    const mend = node.leaseUsable
      ? "mend what it names; its log says more (runbook: node-wont-start, storage-full-or-gone)"
      : "the node can't reach etcd's majority: look at etcd and at the network between (runbook: etcd-down)";
    return { check, subject, result: "fail", seen, mend };
  });
}

/** Of a site of several nodes, one left works, and is the last one. */
function readiness(nodes: readonly NodeFacts[]): Finding[] {
  const all = told(nodes);
  const ready = all.filter(({ status }) => status.node.state === "ready");
  const passive = all.filter(({ status }) => status.node.state === "passive");
  const enough = ready.length > 1 || (ready.length === 1 && passive.length > 0);
  if (all.length === 0 || nodes.filter(({ expected }) => expected).length < 2 || enough) return [];
  const finding = { check: "node", subject: "site" };
  const mend = "bring back the nodes that are named here";
  const [last] = ready;
  if (last === undefined) return [{ ...finding, result: "fail", seen: "no node takes sessions", mend }];
  return [{ ...finding, result: "warn", seen: `only ${last.name} takes sessions: nothing takes over for it`, mend }];
}

function configuration(nodes: readonly NodeFacts[]): Finding[] {
  const check = "configuration";
  const all = told(nodes);
  const findings = all.flatMap(({ name: subject, status: { config } }): Finding[] => {
    if (config.faults.length > 0) {
      const mend = "put back what was changed last, by the admin API; the node's log names each entry";
      const seen = `${config.faults.length} of its entries can't be used; the last good one stays in force`;
      return [{ check, subject, result: "fail", seen, mend }];
    }
    if (config.lagMs > LAG_WARN_MS) {
      const seen = `may be ${(config.lagMs / 1_000).toFixed(1)} s behind${config.trouble === null ? "" : `: ${config.trouble}`}`;
      return [
        {
          check,
          subject,
          result: "warn",
          seen,
          mend: "the node hears too little of etcd: look at etcd, then ask again",
        },
      ];
    }
    return [];
  });
  const forms = new Set(all.map(({ status: { config } }) => `${config.revision} ${config.hash}`));
  const each = all.map(({ name, status: { config } }) => `${name} ${config.revision}`).join(", ");
  if (forms.size > 1) {
    const mend = "ask again in some seconds; a node that stays behind repairs itself by a restart";
    findings.push({ check, subject: "site", result: "fail", seen: `nodes differ: revisions ${each}`, mend });
  } else if (findings.length === 0 && all.length > 0) {
    const revision = all[0]?.status.config.revision;
    findings.push({
      check,
      subject: "site",
      result: "ok",
      seen: `revision ${revision}, the same on ${counted(all.length)}`,
    });
  }
  return findings;
}

function versions(nodes: readonly NodeFacts[]): Finding[] {
  const all = told(nodes);
  const seen = [...new Set(all.map(({ status }) => status.node.version))];
  if (seen.length === 0) return [];
  const finding = { check: "version", subject: "site" };
  if (seen.length === 1) return [{ ...finding, result: "ok", seen: `${seen[0]} on ${counted(all.length)}` }];
  const each = all.map(({ name, status }) => `${name} ${status.node.version}`).join(", ");
  return [
    { ...finding, result: "warn", seen: each, mend: "fine during an upgrade; else bring all nodes to one version" },
  ];
}

/**
 * How far each node's clock is from ours, and how sure that is: the answer was made somewhere within the round trip. Only
 * what lies outside that doubt counts.
 */
function clocks(nodes: readonly NodeFacts[]): Finding[] {
  const offsets = told(nodes).map(({ name, status, askedAt, roundTripMs }) => ({
    name,
    earliest: status.node.time - askedAt - roundTripMs,
    latest: status.node.time - askedAt,
  }));
  if (offsets.length === 0) return [];
  const ahead = offsets.reduce((most, each) => (each.earliest > most.earliest ? each : most));
  const behind = offsets.reduce((least, each) => (each.latest < least.latest ? each : least));
  const apartMs = Math.max(0, ahead.earliest - behind.latest);
  const finding = { check: "clocks", subject: "site" };
  if (apartMs <= CLOCK_WARN_MS) {
    return [{ ...finding, result: "ok", seen: `agree on ${counted(offsets.length)}` }];
  }
  return [
    {
      ...finding,
      result: apartMs > CLOCK_FAIL_MS ? "fail" : "warn",
      seen: `${ahead.name} is at least ${(apartMs / 1_000).toFixed(1)} s ahead of ${behind.name}`,
      mend: "let each host keep its time by NTP (chrony, systemd-timesyncd)",
    },
  ];
}

function members({ members: all }: Facts): Finding[] {
  const check = "etcd";
  const healthy = all.filter((member) => member.healthy).length;
  const majority = Math.floor(all.length / 2) + 1;
  const left =
    healthy >= majority
      ? `${healthy} of ${all.length} are left, and the site works on`
      : `${healthy} of ${all.length} are left, ${majority} are needed: uploads can't be committed`;
  return all.map(({ name: subject, healthy: isHealthy, problem }): Finding => {
    if (isHealthy) return { check, subject, result: "ok", seen: "healthy" };
    const seen = `${problem ?? "not healthy"}; ${left}`;
    return {
      check,
      subject,
      result: "fail",
      seen,
      mend: "start the member again, and look at its log (runbook: etcd-down)",
    };
  });
}

function balancerState({ name: subject, servers, problem }: BalancerFacts, nodes: readonly NodeFacts[]): Finding {
  const check = "balancer";
  if (servers === undefined) {
    const mend = "HAProxy is down or out of reach: start it again; partners use the other address meanwhile";
    return { check, subject, result: "fail", seen: problem ?? "doesn't answer", mend };
  }
  const unseen = told(nodes).filter(({ name, status }) => {
    return status.node.state === "ready" && !(servers.get(name) ?? "").startsWith("UP");
  });
  if (unseen.length > 0) {
    const seen = unseen
      .map(({ name }) => `${name} is ready, and here it is ${servers.get(name) ?? "unknown"}`)
      .join("; ");
    const mend =
      "the balancer can't reach the node's admin or agent port: look at the network and HAProxy's configuration";
    return { check, subject, result: "fail", seen, mend };
  }
  const up = [...servers].filter(([, state]) => state.startsWith("UP")).map(([name]) => name);
  if (up.length === 0) {
    return { check, subject, result: "fail", seen: "no node takes sessions", mend: "start a node, or undrain one" };
  }
  return { check, subject, result: "ok", seen: `sends partners to ${up.join(", ")}` };
}

function ssh({ name, address, banner, problem }: FrontFacts): Finding {
  const finding = { check: "SFTP", subject: `${name} ${hostPort(address)}` };
  if (banner?.startsWith("SSH-2.0-")) return { ...finding, result: "ok", seen: banner };
  if (banner !== undefined) {
    const mend = "another program listens at this port: give Longshore a port of its own";
    return { ...finding, result: "fail", seen: `no SSH server: ${JSON.stringify(banner)}`, mend };
  }
  const mend = "see whether the balancer runs and whether a node is ready; partners can't connect here";
  return { ...finding, result: "fail", seen: problem ?? "no SSH server answers", mend };
}

function hostKeys(fronts: readonly FrontFacts[]): Finding[] {
  const answering = fronts.filter(({ hostKeys: keys }) => keys.length > 0);
  const [first, ...others] = answering;
  if (first === undefined) return [];
  const finding = { check: "host keys", subject: "site" };
  const other = others.find(({ hostKeys: keys }) => keys.join() !== first.hostKeys.join());
  if (other !== undefined) {
    const seen = `${first.name} and ${other.name} show different ones`;
    const mend = "they lead to nodes of two sites: look at the balancers' configuration and the nodes' cluster key";
    return [{ ...finding, result: "fail", seen, mend }];
  }
  const where = answering.length === 1 ? "" : `, the same at ${answering.length} addresses`;
  // One of them is enough to compare with what a partner sees; the others are in the same configuration.
  const shown = first.hostKeys.find((key) => key.startsWith("ssh-ed25519 ")) ?? first.hostKeys[0];
  return [{ ...finding, result: "ok", seen: `${shown}${where}` }];
}

/** A client's own address is what bans, limits and the audit go by: the port tells our own connection from all others. */
function clientAddress({ name, address, banner, client, seen }: FrontFacts): Finding[] {
  if (banner === undefined || client === undefined || seen === undefined) return [];
  const finding = { check: "client address", subject: `${name} ${hostPort(address)}` };
  const ours = seen.find(({ host, port }) => host === client.host && port === client.port);
  if (ours !== undefined) {
    return [{ ...finding, result: "ok", seen: `${ours.node} sees ${hostPort(client)}, which is ours` }];
  }
  const others = seen.map((each) => `${each.node} sees ${hostPort(each)}`).join(", ") || "no node sees anybody";
  const mend =
    "let the balancer send PROXY v2, list it in the nodes' `balancers`, and take what rewrites addresses out of the way; " +
    "behind NAT, ask from inside the site's network";
  return [{ ...finding, result: "fail", seen: `we are ${hostPort(client)}, and ${others}`, mend }];
}

function storage(nodes: readonly NodeFacts[]): Finding[] {
  const check = "storage";
  return told(nodes).map(({ name: subject, status }): Finding => {
    const health = status.node.storage;
    if (health === null) {
      return { check, subject, result: "warn", seen: "not looked at yet", mend: "ask again when the node is up" };
    }
    if (!health.healthy) {
      const mend = "mount it, or make room; the node takes uploads again by itself (runbook: storage-full-or-gone)";
      return { check, subject, result: "fail", seen: health.problem ?? "can't be used", mend };
    }
    const { freeBytes, totalBytes } = health;
    if (freeBytes === undefined) return { check, subject, result: "ok", seen: "healthy" };
    const of = totalBytes === undefined ? "" : ` of ${size(totalBytes)}`;
    const seen = `healthy, ${size(freeBytes)}${of} free`;
    const low =
      totalBytes === undefined || totalBytes === 0
        ? freeBytes < FREE_WARN_BYTES
        : freeBytes / totalBytes < FREE_WARN_SHARE;
    if (!low) return { check, subject, result: "ok", seen };
    return { check, subject, result: "warn", seen, mend: "make room or grow it before uploads are refused" };
  });
}

/**
 * A healthy node has found the site's own sentinel in its storage. One volume has one size as well: a copy of it, mounted
 * on another node, would show the same sentinel.
 */
function sharedStorage(nodes: readonly NodeFacts[]): Finding[] {
  const healthy = told(nodes).filter(({ status }) => status.node.storage?.healthy === true);
  if (healthy.length < 2) return [];
  const finding = { check: "storage", subject: "site" };
  const sizes = new Set(healthy.map(({ status }) => status.node.storage?.totalBytes));
  if (sizes.size === 1) {
    return [{ ...finding, result: "ok", seen: `${counted(healthy.length)} find this site's mark in it` }];
  }
  const each = healthy.map(({ name, status }) => `${name} ${size(status.node.storage?.totalBytes ?? 0)}`).join(", ");
  const mend = "mount one and the same volume on every node: what one node takes, the others don't have";
  return [{ ...finding, result: "fail", seen: `nodes have volumes of different sizes: ${each}`, mend }];
}

function secrets({ secrets: files }: Facts): Finding[] {
  const check = "secrets";
  const findings = files.flatMap(({ path: subject, mode, problem }): Finding[] => {
    if (mode === undefined) {
      return [
        {
          check,
          subject,
          result: "fail",
          seen: problem ?? "can't be looked at",
          mend: "put it back, or start the site anew",
        },
      ];
    }
    if ((mode & 0o077) === 0) return [];
    const seen = `open to others (mode ${mode.toString(8).padStart(3, "0")})`;
    return [
      { check, subject, result: "fail", seen, mend: `chmod go= ${subject}; if somebody may have seen it, replace it` },
    ];
  });
  if (findings.length > 0 || files.length === 0) return findings;
  return [
    { check, subject: "site", result: "ok", seen: `${files.length} files and directories are their owner's alone` },
  ];
}

function counted(nodes: number): string {
  return `${nodes} node${nodes === 1 ? "" : "s"}`;
}
