/** The statements of the participant barrier. */
export interface ParticipantSql {
  readonly insertDone: string;
  readonly insertCompensated: string;
  readonly insertRefused: string;
  /** Fails with SQLSTATE 25P01 outside a transaction. */
  readonly assertTransaction: string;
  readonly markCompensated: string;
  readonly read: string;
  readonly recordAnswer: string;
  readonly recordCompensationAnswer: string;
}

/**
 * An insert that writes nothing while nothing proves that there is a transaction: a transaction that has
 * written has an id, a statement that is alone in its own has none yet. The caller's word is `$3`.
 */
function proven(insert: string): string {
  return `with proof as materialized (
        select pg_current_xact_id_if_assigned() is not null or $3::boolean as is_given
      ), written as (${insert}
      )
      select is_given, exists (select from written) as is_new from proof`;
}

/** `schema` is quoted. */
export function participantSql(schema: string): ParticipantSql {
  return {
    insertDone: `/* dure:participant.forward */ ${proven(`
      insert into ${schema}.participant_action (forward_key, state, compensation_key)
      select $1, 'done', $2::text from proof where is_given on conflict do nothing returning forward_key`)}`,
    assertTransaction: `/* dure:participant.assert-transaction */ lock table ${schema}.participant_action in access share mode`,
    // `for update`: whoever compensates first decides, the other sees it.
    read: `/* dure:participant.read */
      select state, answer::text, compensation_key, compensation_answer::text
      from ${schema}.participant_action where forward_key = $1 for update`,
    insertCompensated: `/* dure:participant.compensate */ ${proven(`
      insert into ${schema}.participant_action (forward_key, state, compensation_key)
      select $1, 'compensated', $2::text from proof where is_given on conflict do nothing returning forward_key`)}`,
    insertRefused: `/* dure:participant.refuse */ ${proven(`
      insert into ${schema}.participant_action (forward_key, state, answer)
      select $1, 'refused', $2::text::jsonb from proof where is_given on conflict do nothing returning forward_key`)}`,
    markCompensated: `/* dure:participant.mark-compensated */
      update ${schema}.participant_action set state = 'compensated', compensation_key = $2 where forward_key = $1`,
    recordAnswer: `/* dure:participant.answer */
      update ${schema}.participant_action set answer = $2::text::jsonb where forward_key = $1`,
    recordCompensationAnswer: `/* dure:participant.compensation-answer */
      update ${schema}.participant_action set compensation_answer = $2::text::jsonb where forward_key = $1`,
  };
}
