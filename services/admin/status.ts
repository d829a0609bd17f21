import type Router from "@koa/router";
import { otherCertificates } from "#cluster/certificates.js";
import { clocksOff } from "#cluster/clocks.js";
import { shownHolder } from "./active.js";
import type { AdminParts } from "./contract.js";
import { convergenceOf, createWaiting, mismatchesOf } from "./convergence.js";

/** The site at a glance: this node, what it sees of the others, and the configuration in force. */
export function statusRoutes(router: Router, { node, members, coordinator, active, audit }: AdminParts): void {
  const waiting = createWaiting(members);

  router.get("/api/v1/status", (ctx) => {
    const { state, reasons } = node.state();
    const { revision, hash, lagMs, faults, trouble } = node.config();
    const { id, name, slot, version, labels, addresses } = node.identity;
    const nodes = members.list();
    ctx.body = {
      node: {
        id,
        name,
        slot,
        version,
        labels,
        addresses,
        state,
        reasons,
        incarnation: node.incarnation() ?? null,
        leaseUsable: node.leaseUsable(),
        uptimeSeconds: Math.round(node.uptime()),
        // Milliseconds since 1970: who asks sees whether the nodes' clocks agree.
        time: Date.now(),
        load: node.load(),
        storage: node.storage() ?? null,
        audit: { problem: audit?.problem() ?? null, warning: audit?.warning() ?? null },
      },
      config: {
        revision,
        hash,
        lagMs: Math.round(lagMs),
        faults,
        trouble: trouble ?? null,
        mismatches: mismatchesOf(nodes, revision, hash),
        otherCertificates: otherCertificates(node.certificates(), nodes),
      },
      coordinator: coordinator?.holder() ?? null,
      mode: active?.mode() ?? null,
      active: shownHolder(active?.holder()) ?? null,
      sessions: nodes.reduce((sum, each) => sum + each.load.sessions, 0),
      transfers: nodes.reduce((sum, each) => sum + each.load.transfers, 0),
      nodes,
      clocksOff: clocksOff(nodes),
      nodesBehindMs: Math.round(members.behindMs()),
    };
  });

  /** Who is connected to this node: shows, too, whether a client's own address comes through the balancer. */
  router.get("/api/v1/connections", (ctx) => {
    ctx.body = {
      node: node.identity.name,
      connections: node
        .clients()
        .map(({ address, port, account }) => ({ protocol: "sftp", address, port, account: account ?? null })),
    };
  });

  /** Whether a change is in force everywhere: `revision` is what its reply said. */
  router.get("/api/v1/cluster/convergence", async (ctx) => {
    const revision = Number(ctx.query.revision);
    const waitMs = Number(ctx.query.wait ?? 0) * 1_000;
    if (waitMs > 0) await waiting(() => convergenceOf(members.list(), revision).converged, waitMs, ctx.req);
    ctx.body = convergenceOf(members.list(), revision);
  });
}
