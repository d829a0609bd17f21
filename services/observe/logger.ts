import { once } from "node:events";
import type { Writable } from "node:stream";
import winston from "winston";
import { pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, unknown>>;

export interface LoggerOptions {
  /** The node's name, in every line. */
  readonly node: string;
  /** Default `info`. */
  readonly level?: LogLevel;
  /** Where lines go, one JSON object each. Default: standard output. */
  readonly stream?: Writable;
}

export interface RootLogger extends Logger {
  /** Resolves when all lines are out: a process that exits before loses its last words. Idempotent. */
  close(): Promise<void>;
}

/** A line in this process's log can't be told apart from its frame if a field took one of these names. */
const RESERVED = new Set(["time", "level", "message", "node", "splat"]);
const DEEPEST_CAUSE = 4;
/** A reader that stopped reading may lose lines; it may not keep the process from ending. */
const LONGEST_DRAIN_MS = 2_000;

export function createLogger(options: LoggerOptions): RootLogger {
  const stream = options.stream ?? process.stdout;
  // A reader of our output that went away must not take the node with it.
  stream.on("error", () => {});
  const transport = new winston.transports.Stream({ stream, eol: "\n" });
  const root = winston.createLogger({
    level: options.level ?? "info",
    format: winston.format.printf((info) => String(info.message)),
    transports: [transport],
    exitOnError: false,
  });

  let closed: Promise<void> | undefined;
  const write = (level: LogLevel, message: string, fields: LogFields): void => {
    if (closed !== undefined || !root.isLevelEnabled(level)) return;
    const line = { time: new Date().toISOString(), level, message, node: options.node, ...fields };
    root.log({ level, message: stringify(line) });
  };

  const make = (bound: LogFields): Logger => {
    const say = (level: LogLevel) => (message: string, fields?: LogFields) =>
      write(level, message, fields === undefined ? bound : { ...bound, ...plainFields(fields) });
    return {
      debug: say("debug"),
      info: say("info"),
      warn: say("warn"),
      error: say("error"),
      child: (fields) => make({ ...bound, ...plainFields(fields) }),
    };
  };

  return {
    ...make({}),
    close() {
      closed ??= finish(root, transport, stream);
      return closed;
    },
  };
}

async function finish(root: winston.Logger, transport: winston.transport, stream: Writable): Promise<void> {
  const finished = once(transport, "finish");
  root.end();
  await finished;
  // The transport is done when it has handed its lines over; a pipe may still hold them.
  const drained = new Promise<void>((resolve) => stream.write("", () => resolve()));
  await Promise.race([drained, pause(LONGEST_DRAIN_MS)]);
}

/** Errors become what JSON.stringify would leave out: code, message, causes; the stack is for what we didn't expect. */
export function plainError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error;
  const { code } = error as { code?: unknown };
  return {
    name: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    ...(error.name === "LongshoreError" || code !== undefined ? {} : { stack: error.stack }),
    ...(error.cause === undefined || depth >= DEEPEST_CAUSE ? {} : { cause: plainError(error.cause, depth + 1) }),
  };
}

function plainFields(fields: LogFields): LogFields {
  const plain: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    plain[RESERVED.has(name) ? `${name}_` : name] = plainError(value);
  }
  return plain;
}

function stringify(line: LogFields): string {
  const seen = new WeakSet<object>();
  return JSON.stringify(line, (_name, value: unknown) => {
    if (typeof value === "bigint") return value.toString();
    if (typeof value === "object" && value !== null) {
      if (seen.has(value)) return "[again]";
      seen.add(value);
    }
    return value;
  });
}
