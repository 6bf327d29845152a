/** The statements of the explorer's effect ledger, in a schema of its own: it is no part of a service. */
export interface EffectLedgerSql {
  readonly create: string;
  readonly append: string;
  readonly list: string;
}

/** The schema's name is fixed: the ledger lives in the explorer's own databases only. */
export const effectLedgerSql: EffectLedgerSql = {
  create: `/* dure:effect.create */
    create schema if not exists dure_explorer;
    create table if not exists dure_explorer.effect (
      position bigint generated always as identity primary key,
      name text not null,
      key text not null,
      is_undo boolean not null
    )`,
  append: `/* dure:effect.append */
    insert into dure_explorer.effect (name, key, is_undo) values ($1, $2, $3)`,
  list: `/* dure:effect.list */
    select name, key, is_undo as "isUndo" from dure_explorer.effect order by position`,
};
