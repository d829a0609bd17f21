/** What of an account's configuration a login was proven by: when that goes, what was opened by it must end. */
export type Credential =
  /** `hash`: the stored hash that the password matched. */
  | { readonly kind: "password"; readonly hash: string }
  /** `blob`: the public key's wire form, base64. */
  | { readonly kind: "public-key"; readonly blob: string };
