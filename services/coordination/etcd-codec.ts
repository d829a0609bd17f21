import type { ICompare, IKeyValue, IRangeRequest, IRequestOp, ITxnRequest, ITxnResponse } from "etcd3/lib/rpc.js";
import { LongshoreError } from "#lib/errors.js";
import type { Compare, Entry, Operation, Transaction } from "./contract.js";

/** Spells our keys, compares and operations in etcd's words, below one site's prefix. */
export class EtcdCodec {
  readonly #root: Buffer;

  /** Throws `LongshoreError` (`invalid-argument`) for a site name that would blur the prefix. */
  constructor(site: string) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(site)) {
      throw new LongshoreError("invalid-argument", `a site's name has letters, digits and ._- only, not "${site}"`);
    }
    this.#root = Buffer.from(`/longshore/${site}/`);
  }

  key(key: string): Buffer {
    return Buffer.concat([this.#root, Buffer.from(key)]);
  }

  name(key: Buffer): string {
    return key.toString("utf8", this.#root.length);
  }

  /** The range of all keys that start with `prefix`. */
  range(prefix: string): { key: Buffer; range_end: Buffer } {
    const key = this.key(prefix);
    return { key, range_end: prefixEnd(key) };
  }

  entry(kv: IKeyValue): Entry {
    return {
      key: this.name(kv.key),
      value: kv.value.toString("utf8"),
      createRevision: Number(kv.create_revision),
      modRevision: Number(kv.mod_revision),
      ...(kv.lease === "0" ? {} : { lease: kv.lease }),
    };
  }

  transaction(transaction: Transaction): ITxnRequest {
    return {
      compare: transaction.compare.map((one) => this.#compare(one)),
      success: transaction.apply.map((one) => this.#operation(one)),
      // When a compare fails, the same transaction reads what stood in the way.
      failure: transaction.compare.map((one) => ({ request_range: this.#found(one) })),
    };
  }

  found(response: ITxnResponse): readonly (readonly Entry[])[] {
    return response.responses.map((one) => one.response_range.kvs.map((kv) => this.entry(kv)));
  }

  #compare(one: Compare): ICompare {
    switch (one.is) {
      case "absent":
        return { key: this.key(one.key), target: "Create", result: "Equal", create_revision: 0 };
      case "empty":
        return { ...this.range(one.prefix), target: "Create", result: "Equal", create_revision: 0 };
      case "modified-at":
        return { key: this.key(one.key), target: "Mod", result: "Equal", mod_revision: one.revision };
      case "created-at":
        return { key: this.key(one.key), target: "Create", result: "Equal", create_revision: one.revision };
    }
  }

  #found(one: Compare): IRangeRequest {
    return "prefix" in one ? { ...this.range(one.prefix), limit: 1 } : { key: this.key(one.key) };
  }

  #operation(one: Operation): IRequestOp {
    if ("put" in one) {
      return {
        request_put: {
          key: this.key(one.put),
          value: Buffer.from(one.value),
          ...(one.lease === undefined ? {} : { lease: one.lease }),
        },
      };
    }
    if ("delete" in one) return { request_delete_range: { key: this.key(one.delete) } };
    return { request_delete_range: this.range(one.deletePrefix) };
  }
}

/** The first key after all that start with `prefix`. UTF-8 holds no byte 0xff, so the last one can always grow. */
function prefixEnd(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  const last = end.length - 1;
  end.writeUInt8(end.readUInt8(last) + 1, last);
  return end;
}
