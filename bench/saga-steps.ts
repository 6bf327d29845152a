// What the sagas of the bench do in their steps: the same for the library and for the peers.

/** Steps of a saga, where all go well. */
export const stepCount = 4;

/** Why the third step fails, where it does. */
export const refusal = "no stock";

/** The table that a step writes a row to where it has a transaction. */
export const stepTable: string = `create table app (
  id bigint generated always as identity primary key, wf text, step int, body jsonb
)`;

/** What stands in such a row. */
export const stepBody: string = '{"ok":true}';

/** What a plain step comes to: nothing is called, only the journal costs. */
export function stepResult(step: number, id: string): Promise<{ step: number; ref: string }> {
  return Promise.resolve({ step, ref: `${id}-${step}` });
}
