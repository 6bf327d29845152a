import { DureError, describeError } from "../core/errors.ts";
import { validateEvent } from "../core/event.ts";
import type { AnyEventDefinition } from "../core/event.ts";
import type { Message } from "../core/message.ts";

/**
 * The data of a message, parsed and checked by the definition's schema.
 * @throws MESSAGE_UNREADABLE
 */
export async function readData(message: Message, definition: AnyEventDefinition): Promise<unknown> {
  let data: unknown;
  try {
    data = JSON.parse(message.data);
  } catch (error) {
    throw unreadable(message, "its data is not JSON", error);
  }
  try {
    return await validateEvent(definition, data);
  } catch (error) {
    throw unreadable(message, describeError(error), error);
  }
}

/** None of the handlers of its type reads this version. */
export function versionUnsupported(
  message: Message,
  definitions: readonly AnyEventDefinition[],
): DureError {
  const versions = definitions.map(({ version }) => version).join(", ");
  return new DureError(
    "MESSAGE_VERSION_UNSUPPORTED",
    `message ${message.id} is "${message.type}" version ${message.version}, the handlers read version ${versions}`,
  );
}

function unreadable(message: Message, what: string, cause: unknown): DureError {
  return new DureError(
    "MESSAGE_UNREADABLE",
    `message ${message.id} of type "${message.type}" cannot be read: ${what}`,
    { cause },
  );
}
