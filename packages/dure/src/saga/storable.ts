declare const why: unique symbol;

/** A type that no value has: what does not compile is held against it, and the compiler prints the reason. */
export interface Refused<Why extends string> {
  readonly [why]: Why;
}

/**
 * Lets a type pass that JSON carries unchanged, and refuses any other, saying where. Sagas keep their input,
 * their results and their output as JSON, so that another process can go on with them: a `Date` would come
 * back as text, a `Map` as `{}`, a `bigint` not at all. Looks five levels deep.
 */
export type Storable<Value, What extends string> = [Unstorable<Value, What, []>] extends [never]
  ? unknown
  : Refused<`is kept as JSON, and ${Unstorable<Value, What, []>}`>;

/** What JSON writes and reads as it was; nothing at all is written as nothing. */
type Plain = string | number | boolean | null | undefined;

type Unstorable<Value, Path extends string, Depth extends readonly unknown[]> = 0 extends 1 & Value
  ? never // `any`: whoever says it takes the compiler's part upon themselves
  : Depth["length"] extends 6
    ? never
    : unknown extends Value
      ? `${Path} is unknown: give it a type`
      : UnstorableMember<Value, Path, Depth>;

/** Distributes over unions: each member must pass. */
type UnstorableMember<
  Value,
  Path extends string,
  Depth extends readonly unknown[],
  // `void` is what a function without a result has.
> = Value extends Plain | void
  ? never
  : Value extends bigint
    ? `${Path} is a bigint: write it as text`
    : Value extends symbol
      ? `${Path} is a symbol`
      : Value extends (...args: never) => unknown
        ? `${Path} is a function`
        : Value extends { readonly toJSON: (...args: never) => unknown }
          ? `${Path} changes in JSON (a Date?): write it as text or as a number`
          : Value extends Opaque
            ? `${Path} is a Map, Set, Promise, Error, RegExp or binary: make plain data of it`
            : Value extends readonly (infer Item)[]
              ? undefined extends Item
                ? `${Path}[] may be undefined, which is null in JSON`
                : Unstorable<Item, `${Path}[]`, readonly [...Depth, 0]>
              : UnstorableField<Value, Path, Depth>;

type UnstorableField<Value, Path extends string, Depth extends readonly unknown[]> = {
  [Key in keyof Value & (string | number)]-?: Unstorable<
    Value[Key],
    `${Path}.${Key}`,
    readonly [...Depth, 0]
  >;
}[keyof Value & (string | number)];

type Opaque =
  | ReadonlyMap<unknown, unknown>
  | ReadonlySet<unknown>
  | WeakMap<WeakKey, unknown>
  | WeakSet<WeakKey>
  | PromiseLike<unknown>
  | Error
  | RegExp
  | ArrayBuffer
  | ArrayBufferView;
