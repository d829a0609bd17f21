import ssh2 from "ssh2";
import { generateHostKey } from "#config/host-keys.js";

/**
 * A partner's key pair, in the forms that ssh2 reads. Not made by ssh2: its `generateKeyPairSync` strips leading zeros, so
 * that one Ed25519 key in 256 is malformed.
 */
export async function makeKeyPair(): Promise<{ readonly private: string; readonly public: string }> {
  const privateKey = await generateHostKey("ed25519");
  const parsed = ssh2.utils.parseKey(privateKey);
  if (parsed instanceof Error) throw parsed;
  return { private: privateKey, public: `${parsed.type} ${parsed.getPublicSSH().toString("base64")}` };
}
