import type Router from "@koa/router";
import { z } from "zod";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";

const SESSION_ID = /^[0-9a-f]{12}$/;

const sessionsAnswer = z.looseObject({ total: z.int(), sessions: z.array(z.looseObject({ since: z.number() })) });
const transfersAnswer = z.looseObject({ total: z.int(), transfers: z.array(z.looseObject({ since: z.number() })) });
const killAnswer = z.looseObject({ killed: z.boolean() });

/** Sessions and transfers of all nodes, as each tells at this moment; a node that doesn't answer is named. */
export function sessionsRoutes(router: Router, { protection: { exchange }, members, node, logger }: AdminParts): void {
  const nameOf = (id: string): string =>
    id === node.identity.id ? node.identity.name : (members.list().find((each) => each.id === id)?.name ?? id);

  const gather = async <T>(kind: string, read: (answer: unknown) => { total: number; items: T[] } | undefined) => {
    const { answers, silent } = await exchange.ask({ kind });
    const items: (T & { node: string })[] = [];
    const unheard = silent.map(nameOf);
    let total = 0;
    for (const [id, answer] of answers) {
      const found = read(answer);
      if (found === undefined) unheard.push(nameOf(id));
      else {
        total += found.total;
        for (const item of found.items) items.push({ ...item, node: nameOf(id) });
      }
    }
    return { items, total, silent: unheard };
  };

  router.get("/api/v1/sessions", async (ctx) => {
    const { items, total, silent } = await gather("sessions", (answer) => {
      const parsed = sessionsAnswer.safeParse(answer).data;
      return parsed && { total: parsed.total, items: parsed.sessions };
    });
    const sessions = items.sort((a, b) => a.since - b.since).map(withTime);
    ctx.body = { sessions, total, silent };
  });

  router.get("/api/v1/transfers", async (ctx) => {
    const { items, total, silent } = await gather("transfers", (answer) => {
      const parsed = transfersAnswer.safeParse(answer).data;
      return parsed && { total: parsed.total, items: parsed.transfers };
    });
    const transfers = items.sort((a, b) => a.since - b.since).map(withTime);
    ctx.body = { transfers, total, silent };
  });

  router.delete("/api/v1/sessions/:id", async (ctx) => {
    const id = String(ctx.params.id);
    if (!SESSION_ID.test(id)) throw new HttpError(404, "Not found", `there is no session "${id}"`);
    const { answers, silent } = await exchange.ask({ kind: "kill", argument: id });
    const found = [...answers].find(([, answer]) => killAnswer.safeParse(answer).data?.killed);
    if (found === undefined) {
      const unheard = silent.length === 0 ? "" : `; not heard from: ${silent.map(nameOf).join(", ")}`;
      if (unheard !== "") throw new HttpError(503, "Not all nodes answered", `no session "${id}" was found${unheard}`);
      throw new HttpError(404, "Not found", `there is no session "${id}"`);
    }
    logger.warn("an administrator ended a session", { target: id, on: nameOf(found[0]) });
    ctx.body = { id, node: nameOf(found[0]) };
  });
}

function withTime<T extends { since: number }>({ since, ...rest }: T) {
  return { ...rest, since: new Date(since).toISOString() };
}
