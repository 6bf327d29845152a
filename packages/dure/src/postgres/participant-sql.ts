/** The statements of the participant barrier. */
export interface ParticipantSql {
  readonly insertDone: string;
  readonly compensate: string;
  readonly read: string;
  readonly recordAnswer: string;
  readonly recordCompensationAnswer: string;
}

/** `schema` is quoted. */
export function participantSql(schema: string): ParticipantSql {
  return {
    insertDone: `/* dure:participant.forward */
      insert into ${schema}.participant_action (forward_key, state) values ($1, 'done')
      on conflict do nothing returning forward_key`,
    // `for update`: whoever compensates first decides, the other sees it.
    read: `/* dure:participant.read */
      select state, answer::text, compensation_key, compensation_answer::text
      from ${schema}.participant_action where forward_key = $1 for update`,
    compensate: `/* dure:participant.compensate */
      insert into ${schema}.participant_action as a (forward_key, state, compensation_key) values ($1, 'compensated', $2)
      on conflict (forward_key) do update set state = 'compensated', compensation_key = coalesce(a.compensation_key, $2)
      returning (xmax = 0) as is_new`,
    recordAnswer: `/* dure:participant.answer */
      update ${schema}.participant_action set answer = $2::text::jsonb where forward_key = $1`,
    recordCompensationAnswer: `/* dure:participant.compensation-answer */
      update ${schema}.participant_action set compensation_answer = $2::text::jsonb where forward_key = $1`,
  };
}
