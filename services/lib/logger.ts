/** What our code needs of a logger; observe/logger.ts makes one from winston, and app.ts hands it down. */
export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** A logger that adds these fields (node, session, transfer) to each line. */
  child(fields: Readonly<Record<string, unknown>>): Logger;
}
