import { createHash, timingSafeEqual } from "node:crypto";

/** Checks `Authorization: Bearer <token>` (RFC 6750) in a time that depends on neither token. */
export function createTokenCheck(token: string): (authorization: string | undefined) => boolean {
  const expected = digest(token);
  return (authorization) => {
    const given = /^Bearer +([A-Za-z0-9\-._~+/]+=*) *$/i.exec(authorization ?? "")?.[1];
    // Digests have one length, which timingSafeEqual needs, and hide the token's.
    return timingSafeEqual(digest(given ?? ""), expected) && given !== undefined;
  };
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
