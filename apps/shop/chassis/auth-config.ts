/** Tokens of users and services are signed with one secret; `/demo/token` gives them away. */
export interface DemoAuthConfig {
  readonly kind: "demo";
  /** At least 32 bytes, as HS256 asks for. */
  readonly secret: string;
  readonly issuer: string;
}

/** Tokens of users come from an issuer with published keys; services sign their own. */
export interface JwksAuthConfig {
  readonly kind: "jwks";
  /** Where the issuer publishes its public keys. */
  readonly url: string;
  readonly issuer: string;
  readonly audience?: string;
  /** Shared by the services alone; signs the tokens they show to one another. */
  readonly serviceSecret: string;
}

/** Whose tokens a service believes. */
export type AuthConfig = DemoAuthConfig | JwksAuthConfig;

/**
 * The issuer of service tokens. It differs from the users' issuer, so that no issuer of user
 * tokens, however generous with roles, can make a token that passes for a service.
 */
export function serviceIssuer(auth: AuthConfig): string {
  return `${auth.issuer}#services`;
}

/** The key that signs and verifies service tokens. */
export function serviceKey(auth: AuthConfig): Uint8Array {
  return new TextEncoder().encode(auth.kind === "demo" ? auth.secret : auth.serviceSecret);
}
