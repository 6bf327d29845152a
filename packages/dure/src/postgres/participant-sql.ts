/** The statements of the participant barrier. */
export interface ParticipantSql {
  readonly insertDone: string;
  readonly insertCompensated: string;
  readonly markCompensated: string;
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
    insertCompensated: `/* dure:participant.compensate */
      insert into ${schema}.participant_action (forward_key, state, compensation_key)
      values ($1, 'compensated', $2) on conflict do nothing returning forward_key`,
    markCompensated: `/* dure:participant.mark-compensated */
      update ${schema}.participant_action set state = 'compensated', compensation_key = $2 where forward_key = $1`,
    recordAnswer: `/* dure:participant.answer */
      update ${schema}.participant_action set answer = $2::text::jsonb where forward_key = $1`,
    recordCompensationAnswer: `/* dure:participant.compensation-answer */
      update ${schema}.participant_action set compensation_answer = $2::text::jsonb where forward_key = $1`,
  };
}
