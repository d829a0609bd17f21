import type { Context } from "koa";

/** Who asks for a change, for the history: the one place that has to know how callers are told apart. */
export function actorOf(_ctx: Pick<Context, "req">): string {
  return "site token";
}
