import { type ChannelCredentials, experimental } from "@grpc/grpc-js";
import { checkServerIdentity } from "#lib/server-identity.js";

/** Client certificate of ours and the authority that we trust, as PEM. */
export interface EtcdTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/**
 * What connections to etcd are made with. It can be renewed while they are in use: those that stand stay, since neither side
 * looks at a certificate again after the handshake, and each new one is made with the newest.
 */
export class EtcdCredentials {
  readonly channel: ChannelCredentials;
  readonly #authority: Told<experimental.CaCertificateUpdate>;
  readonly #identity: Told<experimental.IdentityCertificateUpdate>;

  constructor(tls: EtcdTls) {
    const authority = new Told(authorityOf(tls));
    const identity = new Told(identityOf(tls));
    this.#authority = authority;
    this.#identity = identity;
    // grpc calls it experimental; it is pinned exactly, and a test renews certificates against a real etcd.
    this.channel = experimental.createCertificateProviderChannelCredentials(
      {
        addCaCertificateListener: (listener) => authority.add(listener),
        removeCaCertificateListener: (listener) => authority.remove(listener),
        addIdentityCertificateListener() {},
        removeIdentityCertificateListener() {},
      },
      {
        addCaCertificateListener() {},
        removeCaCertificateListener() {},
        addIdentityCertificateListener: (listener) => identity.add(listener),
        removeIdentityCertificateListener: (listener) => identity.remove(listener),
      },
      { checkServerIdentity },
    );
  }

  renew(tls: EtcdTls): void {
    this.#authority.tell(authorityOf(tls));
    this.#identity.tell(identityOf(tls));
  }
}

function authorityOf({ ca }: EtcdTls): experimental.CaCertificateUpdate {
  return { caCertificate: Buffer.from(ca) };
}

function identityOf({ cert, key }: EtcdTls): experimental.IdentityCertificateUpdate {
  return { certificate: Buffer.from(cert), privateKey: Buffer.from(key) };
}

/** A value that is told to whoever listens, at once and at each change. */
class Told<Value> {
  readonly #listeners = new Set<(value: Value) => void>();
  #value: Value;

  constructor(value: Value) {
    this.#value = value;
  }

  add(listener: (value: Value) => void): void {
    this.#listeners.add(listener);
    listener(this.#value);
  }

  remove(listener: (value: Value) => void): void {
    this.#listeners.delete(listener);
  }

  tell(value: Value): void {
    this.#value = value;
    for (const listener of this.#listeners) listener(value);
  }
}
