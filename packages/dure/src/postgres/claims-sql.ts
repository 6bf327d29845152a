/** The statements of {@link postgresClaims}. */
export interface ClaimsSql {
  readonly heartbeat: string;
  readonly release: string;
}

/** `schema` is quoted. */
export function claimsSql(schema: string): ClaimsSql {
  return {
    heartbeat: `/* dure:claim.heartbeat */ select slot, epoch, surplus from ${schema}.claim_heartbeat($1, $2, $3, $4::smallint, $5)`,
    release: `/* dure:claim.release */ select ${schema}.claim_release($1, $2, $3::smallint[], $4)`,
  };
}
