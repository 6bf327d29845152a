/** The statements of archiving detached partitions. */
export interface ArchiveSql {
  readonly take: string;
  readonly renew: string;
  readonly failed: string;
  readonly lines: string;
  readonly archived: string;
}

/** Stands before every row of a partition. */
export const firstLine: readonly unknown[] = [-1, 0, "00000000-0000-0000-0000-000000000000"];

/** `schema` is quoted. */
export function archiveSql(schema: string): ArchiveSql {
  return {
    take: `/* dure:archive.take */
      update ${schema}.partition_archive
      set token = token + 1, lease_until = clock_timestamp() + $1::float8 * interval '1 ms'
      where name = (
        select name from ${schema}.partition_archive
        where dropped_at is null and lease_until <= clock_timestamp()
        order by detached_at limit 1 for update skip locked
      )
      returning name, token::text`,
    renew: `/* dure:archive.renew */
      update ${schema}.partition_archive set lease_until = clock_timestamp() + $3::float8 * interval '1 ms'
      where name = $1 and token = $2::bigint and dropped_at is null returning name`,
    // Nobody needs to wait for the lease of one who has given up; but not at once, in the same round.
    failed: `/* dure:archive.failed */
      update ${schema}.partition_archive set last_error = $3, lease_until = clock_timestamp() + interval '1 minute'
      where name = $1 and token = $2::bigint and dropped_at is null`,
    lines: `/* dure:archive.lines */
      select shard, position::text, id, line from ${schema}.partition_lines($1, $2::smallint, $3::bigint, $4::uuid)`,
    archived: `/* dure:archive.archived */
      select outcome, row_count::text, checksum from ${schema}.partition_archived($1, $2::bigint, $3::bigint, $4)`,
  };
}
