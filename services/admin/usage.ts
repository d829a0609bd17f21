import type Router from "@koa/router";
import { InvalidConfigError } from "#config/errors.js";
import { readValid } from "./body.js";
import type { AdminParts } from "./contract.js";
import { answerPage, pageByName } from "./pages.js";
import { recountSchema } from "./usage-spec.js";

/** A place in the storage that has a quota, as the node knows it. */
export interface FolderUsage {
  /** Relative to the storage root. */
  readonly target: string;
  /** Null: not counted yet. */
  readonly usedBytes: number | null;
  /** The smallest quota that any folder sets there. */
  readonly limitBytes: number;
  /** Of the last walk over its files, ISO 8601. */
  readonly countedAt: string | null;
  /** Whether nothing was committed beside that walk. */
  readonly exact: boolean;
}

export interface UsageView {
  list(): readonly FolderUsage[];
  /** The coordinator walks it soon. */
  askRecount(target: string): void;
}

const BODY_LIMIT = 4_096;

/** How full the folders with a quota are. */
export function usageRoutes(router: Router, { usage }: AdminParts): void {
  router.get("/api/v1/usage", (ctx) => {
    const page = pageByName(usage?.list() ?? [], ({ target }) => target, ctx.query);
    answerPage(ctx, "folders", page, (folder) => folder);
  });

  router.post("/api/v1/usage/recount", async (ctx) => {
    const { target } = await readValid(ctx.req, BODY_LIMIT, recountSchema, "the request isn't valid");
    if (!usage?.list().some((each) => each.target === target)) {
      const message = "no folder with a quota lies there";
      throw new InvalidConfigError("the request isn't valid", [{ path: "target", message }]);
    }
    usage.askRecount(target);
    ctx.status = 202;
    ctx.body = { target };
  });
}
