import type { ActivePassive, Mode } from "#config/active-schema.js";
import { type Follower, follow } from "#config/follow.js";
import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs } from "#lib/clock.js";
import { processStatus } from "#lib/incarnation.js";
import type { Logger } from "#lib/logger.js";
import { activeRecord, assignActive, holderIn } from "./active-assign.js";
import {
  type ActiveChange,
  type ActiveDecision,
  type ActiveHolder,
  type ActiveRole,
  decideActive,
  roleOf,
} from "./active-decide.js";
import type { Incarnation, Membership, NodeIdentity, NodeRecord, NodeState } from "./contract.js";
import { isWell } from "./decide.js";

/**
 * How a node came to be passive. `planned`: it was told while its own lease held. `lost`: its lease was over, it was cut off.
 * `woken`: its process stood still meanwhile, so the balancer had given it up.
 */
export type Leaving = "planned" | "lost" | "woken";

export interface ActiveOptions {
  readonly coordination: Coordination;
  readonly identity: NodeIdentity;
  readonly membership: Pick<Membership, "current">;
  /** Living nodes, as last heard. */
  readonly members: () => readonly NodeRecord[];
  /** Undefined before there is a configuration. */
  readonly settings: () => { readonly mode: Mode; readonly activePassive: ActivePassive } | undefined;
  readonly state: () => NodeState;
  /** The role, or who holds the key, is another one. */
  readonly onChange: () => void;
  /** This process became the active one. */
  readonly onTaken?: (holder: ActiveHolder) => void;
  /** It is no longer; `how` it came about. */
  readonly onLeft?: (how: Leaving, next: ActiveHolder | undefined) => void;
  readonly logger: Logger;
}

export interface Active {
  start(): void;
  role(): ActiveRole;
  /** As the store said last, also where it doesn't answer now; undefined: nobody. */
  holder(): ActiveHolder | undefined;
  /** How this node came to be passive; undefined where it never was anything else. */
  leaving(): Leaving | undefined;
  /** For how long this node has been passive, in milliseconds; 0: it isn't. */
  passiveMs(): number;
  /** The process stood still and the store hasn't confirmed its lease since: somebody else may be active by now. */
  doubtful(): boolean;
  /** Looks now rather than at the next tick. */
  check(): void;
  /** Idempotent. The key goes with the node's lease. */
  stop(): Promise<void>;
}

const TICK_MS = 250;
/** Bounds what a silently stuck watch can hide. */
const RELIST_MS = 1_000;
/** A tick that comes so late means that the process stood still; less can't have cost it its lease. */
const STALL_MS = 1_500;
/** Without an answer of the store for so long after that, it is the store that is away. */
const DOUBT_MS = 5_000;

export function createActive(options: ActiveOptions): Active {
  return new Seat(options);
}

class Seat implements Active {
  readonly #options: ActiveOptions;
  #held: ActiveHolder | undefined;
  #known = false;
  #role: ActiveRole = "passive";
  #leaving: Leaving | undefined;
  #mode: { readonly is: Mode | undefined; readonly since: number } = { is: undefined, since: monotonicMs() };
  /** The incarnation that was last seen as a member, and since when. */
  #joined: { readonly incarnation: string; readonly at: number } | undefined;
  /** The incarnation under which this node was last active or shared. */
  #servedAs: string | undefined;
  #passiveAt: number | undefined;
  #absentAt: number | undefined;
  #unwellAt: number | undefined;
  #tickedAt = monotonicMs();
  #stalledAt: number | undefined;
  #lastName: string | undefined;
  #follower: Follower | undefined;
  #timer: NodeJS.Timeout | undefined;
  #acting: Promise<void> | undefined;
  #stopped = false;

  constructor(options: ActiveOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#follower !== undefined) return;
    this.#tickedAt = monotonicMs();
    this.#follower = follow({
      coordination: this.#options.coordination,
      prefix: keys.active,
      relistMs: RELIST_MS,
      onListing: ({ entries }) => {
        this.#known = true;
        this.#saw(holderIn(entries.find(({ key }) => key === keys.active)));
        this.check();
      },
    });
    this.#timer = setInterval(() => this.check(), TICK_MS).unref();
  }

  role(): ActiveRole {
    this.#look();
    return this.#role;
  }

  holder(): ActiveHolder | undefined {
    return this.#held;
  }

  leaving(): Leaving | undefined {
    return this.#leaving;
  }

  passiveMs(): number {
    return this.#passiveAt === undefined ? 0 : monotonicMs() - this.#passiveAt;
  }

  doubtful(): boolean {
    if (this.#role !== "active") return false;
    this.#noticeStall();
    if (this.#stalledAt === undefined || this.#usable() !== undefined) return false;
    return monotonicMs() - this.#stalledAt < DOUBT_MS;
  }

  check(): void {
    this.#noticeStall();
    this.#tickedAt = monotonicMs();
    this.#look();
    const own = this.#usable();
    if (own === undefined || this.#stopped) return;
    // It is the same lease that lives on, or every node serves: nobody can have taken over.
    if (this.#role !== "passive") this.#stalledAt = undefined;
    const decision = this.#decide(own);
    if (decision.act === "rest" || this.#acting !== undefined) return;
    this.#acting = this.#act(decision, own).finally(() => {
      this.#acting = undefined;
      this.#follower?.refresh();
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    this.#follower?.close();
    await this.#acting;
  }

  #usable(): Incarnation | undefined {
    const current = this.#options.membership.current();
    return current?.lease.usable() ? current : undefined;
  }

  #noticeStall(): void {
    if (this.#follower === undefined) return;
    const now = monotonicMs();
    if (now - this.#tickedAt > STALL_MS) this.#stalledAt = now;
  }

  #saw(held: ActiveHolder | undefined): void {
    const before = this.#held;
    this.#held = held;
    this.#absentAt = held === undefined ? (this.#absentAt ?? monotonicMs()) : undefined;
    if (held !== undefined) this.#lastName = held.name;
    if (before?.generation === held?.generation) return;
    const { logger, identity } = this.#options;
    if (held === undefined) logger.info("no node holds the key of the active one");
    else if (held.id !== identity.id) {
      logger.info("another node is the active one", { active: held.name, how: held.how, generation: held.generation });
    }
    this.#options.onChange();
  }

  /** Brings the role up to date, and tells of a change. */
  #look(): void {
    const { settings, membership } = this.#options;
    const mode = settings()?.mode;
    if (mode !== this.#mode.is) this.#mode = { is: mode, since: monotonicMs() };
    const own = membership.current()?.incarnation;
    if (own !== undefined && own !== this.#joined?.incarnation) this.#joined = { incarnation: own, at: monotonicMs() };
    const before = this.#role;
    const sinceModeMs = monotonicMs() - this.#mode.since;
    const role = roleOf({ mode, held: this.#held, own, before, sinceModeMs });
    if (role !== "passive") this.#servedAs = own;
    if (role === before) return;
    this.#role = role;
    if (role === "passive") this.#left(before);
    else {
      this.#passiveAt = undefined;
      this.#leaving = undefined;
      this.#stalledAt = undefined;
      if (role === "active" && this.#held !== undefined) this.#taken(this.#held);
    }
    this.#options.onChange();
  }

  #taken(held: ActiveHolder): void {
    const { how, from, generation } = held;
    this.#options.logger.info("this node is the active one: it takes partners", { how, from, generation });
    this.#options.onTaken?.(held);
  }

  #left(before: ActiveRole): void {
    const usable = this.#usable();
    const planned = usable !== undefined && usable.incarnation === this.#servedAs;
    const leaving = this.#stalledAt !== undefined ? "woken" : planned ? "planned" : "lost";
    this.#leaving = leaving;
    this.#passiveAt = monotonicMs();
    this.#stalledAt = undefined;
    const details = { how: leaving, active: this.#held?.name };
    this.#options.logger.warn("this node is passive now: it takes no new partners, running transfers end", details);
    if (before === "active") this.#options.onLeft?.(leaving, this.#held);
  }

  #decide({ incarnation }: Incarnation): ActiveDecision {
    const { identity, settings, state, members } = this.#options;
    const site = settings();
    const now = monotonicMs();
    const since = (at: number | undefined) => (at === undefined ? 0 : now - at);
    const stateNow = state();
    this.#unwellAt = isWell(stateNow) ? undefined : (this.#unwellAt ?? now);
    const { id, name, slot } = identity;
    return decideActive({
      mode: site?.mode,
      order: site?.activePassive.order ?? [],
      own: { incarnation, id, name, slot },
      known: this.#known,
      held: this.#held,
      state: stateNow,
      unwellMs: since(this.#unwellAt),
      unhealthyMs: (site?.activePassive.unhealthySeconds ?? 0) * 1_000,
      members: members(),
      // In active-active nobody holds it: that doesn't count.
      absentMs: Math.min(since(this.#absentAt), now - this.#mode.since),
      joinedMs: since(this.#joined?.at),
      formerSelfMs: this.#formerSelfMs(incarnation),
    });
  }

  #formerSelfMs(own: string): number | undefined {
    const held = this.#held;
    if (held === undefined || held.id !== this.#options.identity.id || held.incarnation === own) return undefined;
    return processStatus(held.incarnation) === "gone" ? Date.now() - held.since : undefined;
  }

  async #act(decision: Exclude<ActiveDecision, { act: "rest" }>, own: Incarnation): Promise<void> {
    const { coordination, logger } = this.#options;
    try {
      if (decision.act === "campaign") await this.#campaign(own, decision.over);
      else if (decision.act === "give-up") await this.#giveUp();
      else {
        const { id, name } = decision.to;
        const outcome = await assignActive(coordination, { held: this.#held, to: id, how: "handover" });
        if (outcome.is === "done") logger.info("this node hands over", { to: name, state: this.#options.state() });
      }
    } catch (error) {
      // Also where it may have been applied: the next listing says who it is.
      logger.debug("a change of the active node is open", { act: decision.act, error: String(error) });
    }
  }

  async #campaign({ incarnation, lease }: Incarnation, over: number | undefined): Promise<void> {
    const { coordination, identity } = this.#options;
    const how: ActiveChange = over !== undefined ? "restart" : this.#lastName === undefined ? "first" : "takeover";
    const value = activeRecord({ incarnation, id: identity.id, name: identity.name }, how, this.#lastName);
    await coordination.transact({
      compare: [
        over === undefined
          ? { key: keys.active, is: "absent" }
          : { key: keys.active, is: "modified-at", revision: over },
      ],
      apply: [{ put: keys.active, value, lease: lease.id }],
    });
  }

  async #giveUp(): Promise<void> {
    const held = this.#held;
    if (held === undefined) return;
    await this.#options.coordination.transact({
      compare: [{ key: keys.active, is: "modified-at", revision: held.generation }],
      apply: [{ delete: keys.active }],
    });
  }
}
