import type Router from "@koa/router";
import { type ActiveHolder, rankBy } from "#cluster/active-decide.js";
import { LongshoreError } from "#lib/errors.js";
import { ACTIVE_LIMIT, switchSchema } from "./active-spec.js";
import { noteChange } from "./audit-trail.js";
import { readValid } from "./body.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";

/** Which node is the active one (mode active-passive), and a planned switch to another one. */
export function activeRoutes(router: Router, { activeSwitch, members, site, logger }: AdminParts): void {
  const rules = async () => {
    const { mode, activePassive } = (await site.get()).site;
    return { mode, order: activePassive.order };
  };

  router.get("/api/v1/cluster/active", async (ctx) => {
    const [{ mode, order }, holder] = await Promise.all([rules(), activeSwitch.holder()]);
    const nodes = [...members.list()].sort(rankBy(order)).map((member, at) => {
      const { id, name, state, reasons, load } = member;
      const active = holder?.id === id;
      return { id, name, state, reasons, active, place: at + 1, sessions: load.sessions, transfers: load.transfers };
    });
    ctx.body = { mode, order, active: shownHolder(holder) ?? null, nodes };
  });

  router.post("/api/v1/cluster/active/switch", async (ctx) => {
    const { to: wanted, dryRun } = await readValid(ctx.req, ACTIVE_LIMIT, switchSchema, "the switch isn't valid");
    const { from, to, switches } = await activeSwitch.switch(await rules(), wanted, dryRun).catch(asConflict);
    const switched = switches && !dryRun;
    if (switched) {
      noteChange(ctx, { active: from?.name ?? null }, { active: to.name });
      logger.info("the active node was switched by command", { from: from?.name, to: to.name });
    }
    ctx.body = { from: from?.name ?? null, to: to.name, switched, dryRun };
  });
}

export function shownHolder(holder: ActiveHolder | undefined) {
  if (holder === undefined) return undefined;
  const { id, name, since, how, from, generation } = holder;
  return { id, name, since: new Date(since).toISOString(), how, from: from ?? null, generation };
}

/** The site isn't as the request takes it to be: trying again in a moment won't help by itself. */
function asConflict(error: unknown): never {
  if (error instanceof LongshoreError && (error.code === "busy" || error.code === "unsupported")) {
    throw new HttpError(409, "Not possible now", error.message);
  }
  throw error;
}
