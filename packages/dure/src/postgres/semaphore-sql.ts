/** The statements of semaphores. Decisions are the functions of 0017_semaphore.sql. */
export interface SemaphoreSql {
  readonly join: string;
  readonly beat: string;
  readonly leave: string;
  readonly declare: string;
  readonly acquire: string;
  readonly release: string;
  readonly look: string;
  readonly list: string;
  readonly places: string;
  readonly set: string;
  readonly takeAway: string;
}

/** `schema` is quoted. */
export function semaphoreSql(schema: string): SemaphoreSql {
  return {
    join: `/* dure:semaphore.join */ select ${schema}.semaphore_join($1, $2)::text as member`,
    beat: `/* dure:semaphore.beat */ select ${schema}.semaphore_beat($1, $2) as is_held`,
    leave: `/* dure:semaphore.leave */ select ${schema}.semaphore_leave($1)::text[] as woken`,
    declare: `/* dure:semaphore.declare */ select ${schema}.semaphore_declare($1, $2, $3)::text[] as woken`,
    acquire: `/* dure:semaphore.acquire */ select ${schema}.semaphore_acquire($1, $2, $3, $4)::text as answer`,
    release: `/* dure:semaphore.release */ select ${schema}.semaphore_release($1, $2, $3, $4)::text as answer`,
    look: `/* dure:semaphore.look */ select ${schema}.semaphore_look($1)::text as answer`,
    // What counts: the places of members that are not fenced.
    list: `/* dure:semaphore.list */
      select s.name, s.permits, s.line_max, s.declared_permits, s.declared_line_max, s.is_set,
        count(p.granted_at)::int as held, (count(p.place) - count(p.granted_at))::int as waiting,
        coalesce(extract(epoch from clock_timestamp() - min(p.asked_at) filter (where p.granted_at is null)) * 1000, 0)::float8 as oldest_wait_ms,
        coalesce(extract(epoch from clock_timestamp() - min(p.granted_at)) * 1000, 0)::float8 as longest_held_ms
      from ${schema}.semaphore s
      left join (
        select p.* from ${schema}.semaphore_place p
        join ${schema}.semaphore_member m on m.member = p.member and m.fenced_at is null
      ) p on p.semaphore = s.name
      group by s.name order by s.name`,
    places: `/* dure:semaphore.places */
      select p.place::text as id, p.semaphore, m.process, p.granted_at is not null as is_held,
        case when p.granted_at is null then
          row_number() over (partition by p.granted_at is null order by p.place) end::int as position,
        extract(epoch from clock_timestamp() - coalesce(p.granted_at, p.asked_at))::float8 * 1000 as for_ms,
        extract(epoch from m.lease_until - clock_timestamp())::float8 * 1000 as lease_ms_left
      from ${schema}.semaphore_place p
      join ${schema}.semaphore_member m on m.member = p.member and m.fenced_at is null
      where p.semaphore = $1 order by p.granted_at is null, p.place limit $2`,
    set: `/* dure:semaphore.set */ select ${schema}.semaphore_set($1, $2, $3, $4, $5)::text[] as woken`,
    takeAway: `/* dure:semaphore.take-away */ select ${schema}.semaphore_take_away($1, $2, $3)::text[] as woken`,
  };
}
