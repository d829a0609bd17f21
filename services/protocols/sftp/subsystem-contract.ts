import type { Socket } from "node:net";
import type { Connection, ServerChannel } from "ssh2";
import type { SftpSettings } from "#config/schema.js";
import type { Logger } from "#lib/logger.js";
import type { Session } from "#sessions/contract.js";

/** What the connection sees of the SFTP subsystem that runs on one of its channels. */
export interface Subsystem {
  /** No request is under way. */
  readonly idle: boolean;
  /** The last request or moved byte, in monotonic milliseconds (lib/clock.ts). */
  readonly lastActivity: number;
  readonly openHandles: number;
  /** Ends the subsystem: abandons its open handles, lets closes under way finish. Idempotent. */
  end(reason: string): void;
}

export interface SubsystemOptions {
  readonly client: Connection;
  readonly channel: ServerChannel;
  readonly socket: Socket;
  readonly session: Session;
  readonly settings: SftpSettings;
  readonly logger: Logger;
}
