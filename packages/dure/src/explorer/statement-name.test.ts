/** A statement is called the same in each run, and so that a person finds it. */
import { expect, it } from "vitest";
import { statementName } from "./statement-name.ts";

it.each([
  ["/* dure:log.append */ insert into x", "dure:log.append"],
  ["\n  /* dure:log.append */\n select 1", "dure:log.append"],
  ["/* dure:outbox.append */ select 1; commit", "dure:outbox.append + commit"],
  ["  commit ", "commit"],
  ["select *\n   from orders", "select * from orders"],
  ["notify x, 'it''s 12:05'", "notify x, '…'"],
  [`select ${"a".repeat(80)}`, `select ${"a".repeat(52)}…`],
])("%j is %s", (text, name) => {
  expect(statementName(text)).toBe(name);
});
