import type { Context } from "koa";
import { principalOf } from "./gate.js";

/** Who asks for a change, for the history: the one place that has to know how callers are told apart. */
export function actorOf(ctx: Pick<Context, "req">): string {
  return principalOf(ctx).name;
}
