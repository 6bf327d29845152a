import type { AnySagaDefinition, SagaDefinition } from "./saga-definition.ts";
import type { ForwardStepOptions, SagaView, StepOptions } from "./step-options.ts";
import type { Refused, Storable } from "./storable.ts";

/** What is the same along the whole definition, in types. */
export interface SagaScope {
  /** What a starter gives. */
  readonly given: unknown;
  /** What the code reads: the same, as the schema leaves it. */
  readonly input: unknown;
  readonly client: unknown;
  readonly place: "before the pivot" | "after the pivot" | "in a branch before the pivot";
}

/**
 * A saga being defined: every method answers a new one with what it adds, and leaves this one as it was.
 * Mistakes that the compiler cannot see are gathered and thrown by {@link SagaPath.output} and
 * {@link SagaPath.end}, all at once.
 */
export interface SagaPath<Scope extends SagaScope, Results, Names extends string> {
  /** Names the driver's client of `tx.client` in local steps (of pg: `PoolClient`). Exists in types only. */
  withClient<Client>(): SagaPath<
    Omit<Scope, "client"> & { readonly client: Client },
    Results,
    Names
  >;

  /** A step that begins when everything before it is done. */
  step<const Name extends string, Result = undefined, Refusing = unknown>(
    name: Fresh<Name, Names>,
    options: OptionsOf<Scope, Results, Result, Refusing> & Storable<Result, "result">,
  ): SagaPath<Scope, Plus<Results, Name, Result>, Names | Name>;

  /**
   * The step that decides: until it is done everything can be undone; from then on the saga only goes
   * forward. While its outcome is unknown it is asked again by key; when it is refused the saga is undone.
   */
  pivot<const Name extends string, Result = undefined, Refusing = unknown>(
    name: Scope["place"] extends "before the pivot"
      ? Fresh<Name, Names>
      : Refused<"a saga has one pivot at the most, and none in a branch">,
    options: ForwardStepOptions<Scope["input"], Results, Scope["client"], Result, Refusing> &
      Storable<Result, "result">,
  ): SagaPath<
    Omit<Scope, "place"> & { readonly place: "after the pivot" },
    Plus<Results, Name, Result>,
    Names | Name
  >;

  /** Steps that begin together; what follows begins when all are done. They do not see each other's results. */
  parallel<const Name extends string, Added, Inner extends string>(
    name: Fresh<Name, Names>,
    define: (
      group: SagaGroup<Scope, Results, unknown, Names | Name>,
    ) => SagaGroup<Scope, Results, Added, Inner>,
  ): SagaPath<Scope, Flat<Results & Added>, Names | Name | Inner>;

  /**
   * One of several ways, chosen once by what is known when everything before it is done; the choice is
   * written to the journal. Afterwards the results of its steps may be undefined.
   */
  branch<
    const Name extends string,
    const Chosen extends string,
    Cases extends Readonly<
      Record<Chosen, (branch: InBranch<Scope, Results, Names | Name>) => AnySagaPath>
    >,
  >(
    name: Fresh<Name, Names>,
    choose: (view: SagaView<Scope["input"], Results>) => Chosen,
    cases: Cases & NoOtherCases<Cases, Chosen> & NoSharedNames<Cases, Chosen, Names | Name>,
  ): SagaPath<
    Scope,
    Flat<Results & AddedByCases<Cases, Results>>,
    Names | Name | NamesOf<EndOf<Cases, keyof Cases>>
  >;

  /**
   * Ends the definition with what a completed saga comes to: for whoever waits for its outcome.
   * @throws CONFIGURATION_INVALID naming every mistake at once
   */
  output<Output>(
    compute: (view: SagaView<Scope["input"], Results>) => Output & Storable<Output, "output">,
  ): SagaDefinition<Scope["given"], Output, Scope["client"]>;

  /**
   * Ends the definition of a saga that comes to nothing but its end.
   * @throws CONFIGURATION_INVALID naming every mistake at once
   */
  end(): SagaDefinition<Scope["given"], undefined, Scope["client"]>;
}

/** A parallel group being defined. */
export interface SagaGroup<Scope extends SagaScope, Results, Added, Names extends string> {
  /** A step that begins together with its neighbours. */
  step<const Name extends string, Result = undefined, Refusing = unknown>(
    name: Fresh<Name, Names>,
    options: OptionsOf<Scope, Results, Result, Refusing> & Storable<Result, "result">,
  ): SagaGroup<Scope, Results, Plus<Added, Name, Result>, Names | Name>;
}

/** Any saga being defined: every {@link SagaPath} is one. */
export interface AnySagaPath {
  end(): AnySagaDefinition;
}

type OptionsOf<
  Scope extends SagaScope,
  Results,
  Result,
  Refusing,
> = Scope["place"] extends "after the pivot"
  ? ForwardStepOptions<Scope["input"], Results, Scope["client"], Result, Refusing>
  : StepOptions<Scope["input"], Results, Scope["client"], Result, Refusing>;

/** A name that is not taken. */
type Fresh<Name extends string, Names extends string> = string extends Name
  ? Refused<"a name must be written out, so that the compiler can follow it">
  : Name extends Names
    ? Refused<`the name "${Name}" is taken`>
    : Name;

/** Without the last part the compiler would print how the type was put together. */
type Flat<Fields> = { readonly [Key in keyof Fields]: Fields[Key] } & {};

type Plus<Results, Name extends string, Result> = Flat<
  Results & { readonly [Key in Name]: Result }
>;

type InBranch<Scope extends SagaScope, Results, Names extends string> = SagaPath<
  Scope["place"] extends "before the pivot"
    ? Omit<Scope, "place"> & { readonly place: "in a branch before the pivot" }
    : Scope,
  Results,
  Names
>;

type ResultsOf<Path> =
  Path extends SagaPath<infer _Scope, infer Results, infer _Names> ? Results : never;
type NamesOf<Path> =
  Path extends SagaPath<infer _Scope, infer _Results, infer Names> ? Names : never;

type Case = (...args: never) => unknown;
type EndOf<Cases, Name extends keyof Cases> = Cases[Name] extends Case
  ? ReturnType<Cases[Name]>
  : never;

/** What the cases add. Only one of them is gone, so each result may be missing. */
type AddedByCases<Cases, Results> = {
  readonly [Key in Exclude<KeyOf<ResultsOf<EndOf<Cases, keyof Cases>>>, keyof Results>]:
    | ValueOf<ResultsOf<EndOf<Cases, keyof Cases>>, Key>
    | undefined;
};

/** Both distribute over the union of what the cases end with. */
type KeyOf<Fields> = Fields extends unknown ? keyof Fields : never;
type ValueOf<Fields, Key extends PropertyKey> =
  Fields extends Readonly<Record<Key, infer Value>> ? Value : never;

/** A case that the chooser never answers could not be reached. */
type NoOtherCases<Cases, Chosen extends string> = {
  readonly [Name in Exclude<keyof Cases, Chosen>]: Refused<"the chooser never answers this case">;
};

/** Names are unique in the whole definition, so that the journal can be read. */
type NoSharedNames<Cases, Chosen extends string, Before extends string> = {
  readonly [Name in keyof Cases & Chosen]: Shared<Cases, Name, Before> extends never
    ? unknown
    : Refused<`the name "${Shared<Cases, Name, Before>}" is taken by another case`>;
};
type Shared<Cases, Name extends keyof Cases, Before extends string> = Exclude<
  NamesOf<EndOf<Cases, Name>>,
  Before
> &
  NamesOf<EndOf<Cases, Exclude<keyof Cases, Name>>>;
