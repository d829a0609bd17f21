import { LongshoreError } from "#lib/errors.js";
import type { ReadFile } from "#storage/contract.js";
import { fromFileStat } from "./attributes.js";
import type { AttributeChange, Attributes, FileHandle } from "./contract.js";
import type { TransferLog } from "./transfer-log.js";

export interface DownloadHandleOptions {
  readonly file: ReadFile;
  readonly log: TransferLog;
  /** FSETSTAT on a file that is open for reading only: goes to the committed file, by path. */
  readonly setAttributes: (change: AttributeChange) => Promise<void>;
  readonly closed: () => void;
}

/** A committed file, open for reading: it stays as it was at open. */
export class DownloadHandle implements FileHandle {
  readonly readable = true;
  readonly writable = false;
  readonly pendingBytes = 0;
  readonly #options: DownloadHandleOptions;
  readonly #file: ReadFile;
  readonly #log: TransferLog;
  #ending: Promise<void> | undefined;

  constructor(options: DownloadHandleOptions) {
    this.#options = options;
    this.#file = options.file;
    this.#log = options.log;
  }

  get id(): string {
    return this.#log.id;
  }

  async attributes(): Promise<Attributes> {
    return fromFileStat(await this.#file.stat());
  }

  setAttributes(change: AttributeChange): Promise<void> {
    return this.#options.setAttributes(change);
  }

  read(offset: number, views: readonly Buffer[], done: (error: Error | undefined, bytes: number) => void): void {
    if (this.#ending !== undefined) {
      done(new LongshoreError("closed", "the file is closed"), 0);
      return;
    }
    this.#file.read(offset, views, (error, bytes) => {
      this.#log.moved(bytes);
      done(error, bytes);
    });
  }

  write(_offset: number, _views: readonly Buffer[], done: (error?: Error) => void): void {
    done(new LongshoreError("permission-denied", "the file is open for reading only"));
  }

  async sync(): Promise<void> {}

  close(): Promise<void> {
    this.#ending ??= this.#end("complete");
    return this.#ending;
  }

  abandon(): Promise<void> {
    this.#ending ??= this.#end("partial");
    return this.#ending;
  }

  async #end(end: "complete" | "partial"): Promise<void> {
    this.#options.closed();
    await this.#file.close();
    this.#log.ended(end);
  }
}
