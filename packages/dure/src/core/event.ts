import { DureError } from "./errors.ts";
import { describeIssues } from "./standard-schema.ts";
import type { StandardResult, StandardSchema } from "./standard-schema.ts";

/** The contract of one version of an event: a value that writers and handlers share. */
export interface EventDefinition<Input = unknown, Output = Input> {
  readonly type: string;
  readonly topic: string;
  readonly version: number;
  readonly schema: StandardSchema<Input, Output>;
  readonly key: (data: Output) => string;
  /** An event ready to be written, for `outbox.emit`. */
  of(data: Input): EventToWrite;
}

/** An event definition whose data types do not matter here: every {@link EventDefinition} is one. */
export interface AnyEventDefinition {
  readonly type: string;
  readonly topic: string;
  readonly version: number;
  readonly schema: StandardSchema<unknown, unknown>;
  readonly key: (data: never) => string;
}

/** An event with its data, made by {@link EventDefinition.of}, which has checked their types against each other. */
export interface EventToWrite {
  readonly definition: AnyEventDefinition;
  readonly data: unknown;
}

/** What an event of this definition must be given. */
export type EventInput<Definition> =
  Definition extends EventDefinition<infer Input, infer _Output> ? Input : never;

/** What a handler of this definition is handed. */
export type EventOutput<Definition> =
  Definition extends EventDefinition<infer _Input, infer Output> ? Output : never;

/** What {@link event} takes beside the type's name. */
export interface EventOptions<Input, Output> {
  /** From 1; raised when a reader of the old shape could not read the new one. */
  readonly version: number;
  /** Any Standard Schema. It must accept what JSON can carry: the data travels as JSON in its input form. */
  readonly schema: StandardSchema<Input, Output>;
  /** Events of one key keep their order; choose the id of the thing that they are about. At most 512 characters. */
  readonly key: (data: Output) => string;
  /** @defaultValue the type up to its first dot: `order.created` goes to `order` */
  readonly topic?: string;
}

/**
 * Defines an event: what it is called, what it carries, and whose order it keeps.
 * @throws CONFIGURATION_INVALID when the type, topic or version is not usable
 */
export function event<Input, Output>(
  type: string,
  options: EventOptions<Input, Output>,
): EventDefinition<Input, Output> {
  const topic = options.topic ?? type.split(".", 1)[0] ?? "";
  checkName("type", type, type);
  checkName("topic", topic, type);
  if (!Number.isInteger(options.version) || options.version < 1 || options.version > 32_767) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      `event "${type}": version must be a whole number from 1 to 32767, got ${String(options.version)}`,
    );
  }
  const definition: EventDefinition<Input, Output> = {
    type,
    topic,
    version: options.version,
    schema: options.schema,
    key: options.key,
    of: (data) => ({ definition, data }),
  };
  return Object.freeze(definition);
}

/**
 * What the schema makes of `value`: a promise only where the schema answers with one.
 * @throws EVENT_INVALID naming the fields, never their values
 */
export function validateEvent(definition: AnyEventDefinition, value: unknown): unknown {
  const result = definition.schema["~standard"].validate(value);
  return result instanceof Promise
    ? result.then((settled) => valueOf(definition, settled))
    : valueOf(definition, result);
}

function valueOf(definition: AnyEventDefinition, result: StandardResult<unknown>): unknown {
  if (result.issues === undefined) return result.value;
  throw new DureError(
    "EVENT_INVALID",
    `event "${definition.type}" version ${definition.version} does not fit its schema: ${describeIssues(result.issues)}`,
  );
}

const namePattern = /^[a-z0-9][a-z0-9._-]{0,127}$/;

function checkName(what: string, name: string, type: string): void {
  if (namePattern.test(name)) return;
  throw new DureError(
    "CONFIGURATION_INVALID",
    `event "${type}": ${what} "${name}" must be 1 to 128 of a-z, 0-9, dot, dash and underscore, and begin with a letter or digit`,
  );
}
