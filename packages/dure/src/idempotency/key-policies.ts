import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import { newUlid } from "../core/id.ts";
import { fingerprintOf } from "./fingerprint.ts";
import type { FingerprintParts } from "./fingerprint.ts";
import { keyLengthMax } from "./idempotency-key.ts";

declare const layer: unique symbol;

/** A key that a client chooses, for a request to the outermost service. Never a saga's id. */
export type ClientKey = string & { readonly [layer]: "client" };

/** The id of a saga: `SAGA-…`. An orchestrator's own, and never a key by itself. */
export type SagaId = string & { readonly [layer]: "saga" };

/** The key of one call of a saga to a service. */
export type StepKey = string & { readonly [layer]: "step" };

const sagaPrefix = "SAGA-";

/**
 * The key of whatever one checkout session orders: `checkout-{sessionId}`. Percent-encoded where a header could not
 * carry it, so two sessions never have one key.
 *
 * @throws KEY_INVALID when it is empty, or longer than 255 characters as a key
 */
export function checkoutKey(sessionId: string): ClientKey {
  return asKey(`checkout-${encoded("sessionId", sessionId)}`) as ClientKey;
}

/**
 * The key of an order of one state of a cart: `cart-{cartId}-{version}`. The version counts the cart's changes, so
 * that a cart that was changed is another order.
 *
 * @throws KEY_INVALID as {@link checkoutKey}, and when the version is no whole number from 0
 */
export function cartKey(cart: { readonly cartId: string; readonly version: number }): ClientKey {
  const version = whole("version", cart.version, 0);
  return asKey(`cart-${encoded("cartId", cart.cartId)}-${version}`) as ClientKey;
}

/** A user's order of a product at a time. */
export interface WindowParts {
  readonly userId: string;
  readonly productId: string;
  /** When it is ordered: of one clock for all that are compared. A repeat says the time of the first, not its own. */
  readonly at: Date;
  /** How long a window is, in milliseconds. */
  readonly windowMs: number;
}

/**
 * The key of what a user orders of a product within a time window: `window-{userId}-{productId}-{windowMs}-{n}`, with
 * the n-th window since 1970. Windows do not slide: two orders a moment apart may stand on both sides of a boundary.
 *
 * @throws KEY_INVALID as {@link checkoutKey}, and for a time or a length that is none
 */
export function windowKey({ userId, productId, at, windowMs }: WindowParts): ClientKey {
  const length = whole("windowMs", windowMs, 1);
  const n = whole("at", Math.floor(at.getTime() / windowMs), 0);
  const parts = [encodedPart("userId", userId), encodedPart("productId", productId)];
  return asKey(`window-${parts.join("-")}-${length}-${n}`) as ClientKey;
}

/**
 * The key of a request by all that it says: `request-{fingerprint}`, 32 hexadecimal digits. Equal requests are one,
 * also where somebody means to order the same again.
 *
 * @throws RangeError, TypeError as `canonicalJson`
 */
export function requestKey(request: FingerprintParts): ClientKey {
  return asKey(`request-${fingerprintOf(request)}`) as ClientKey;
}

/**
 * A key that the client made in another way, a UUID for example.
 * @throws KEY_INVALID when it is a saga's (`SAGA-…`), empty, too long or not printable ASCII
 */
export function clientKey(key: string): ClientKey {
  if (key.startsWith(sagaPrefix)) {
    throw invalid("a client's key must not be that of a saga: it would be spent by the first call");
  }
  return asKey(key) as ClientKey;
}

/** A new id of a saga: `SAGA-` and a ULID. */
export function newSagaId(clock?: Clock): SagaId {
  return `${sagaPrefix}${newUlid(clock)}` as SagaId;
}

/**
 * An id of a saga that comes from elsewhere: `SAGA-` and up to 123 of letters, digits, `.`, `_`, `:` and `-`.
 * @throws KEY_INVALID when it is none: a client's key, for example
 */
export function sagaIdOf(text: string): SagaId {
  if (/^SAGA-[A-Za-z0-9._:-]{1,123}$/.test(text)) return text as SagaId;
  throw invalid("a saga's id is SAGA- and up to 123 of letters, digits, '.', '_', ':' and '-'");
}

/**
 * The key of an orchestrator's call to a service: `{sagaId}-{service}-{action}`. Service and action have no dash,
 * so that no two calls have one key, whatever the saga's id is. The engine makes the same of a step's `action`.
 *
 * @throws KEY_INVALID
 */
export function stepKey(
  sagaId: SagaId,
  step: { readonly service: string; readonly action: string },
): StepKey {
  const parts = [word("service", step.service), word("action", step.action)];
  return asKey(`${sagaIdOf(sagaId)}-${parts.join("-")}`) as StepKey;
}

function word(name: string, text: string): string {
  if (/^[A-Za-z0-9._]+$/.test(text)) return text;
  throw invalid(`${name} must be letters, digits, '.' and '_'`);
}

function whole(name: string, value: number, min: number): string {
  if (Number.isSafeInteger(value) && value >= min) return String(value);
  throw invalid(`${name} must be a whole number from ${min}, or a time`);
}

/** In front of nothing but digits, or of nothing: dashes may stay as they are. */
function encoded(name: string, text: string): string {
  if (text === "" || !text.isWellFormed()) throw invalid(`${name} is empty, or no text`);
  return encodeURIComponent(text);
}

/** Between dashes. */
function encodedPart(name: string, text: string): string {
  return encoded(name, text).replaceAll("-", "%2D");
}

function asKey(key: string): string {
  if (/^[\x20-\x7e]+$/.test(key) && key.length <= keyLengthMax && key.trim() === key) return key;
  throw invalid(
    `a key has 1 to ${keyLengthMax} printable ASCII characters, this has ${key.length}`,
  );
}

function invalid(what: string): DureError {
  return new DureError("KEY_INVALID", `no idempotency key can be made: ${what}`);
}
