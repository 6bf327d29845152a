import type { Opening, Statement } from "../core/transaction.ts";
import { corked, sendStatement, wireOf } from "./pg-wire.ts";
import type { WireClient, WireConnection } from "./pg-wire.ts";
import type { PostgresClient } from "./pool.ts";
import { isUnprepared, preparedName } from "./prepared.ts";

type Row = Readonly<Record<string, unknown>>;

/** What an opening came to. */
export interface Opened {
  /** Of all its statements; values are text, as the server writes it. */
  readonly rows: readonly Row[];
  /** The texts that this connection knows by a name for as long as the transaction lasts. */
  readonly names: ReadonlyMap<string, string>;
}

/** Opens transactions. */
export interface PreparedOpenings {
  /** Runs BEGIN and the opening's statements in one round trip. Undefined: the driver does not let us. */
  open(
    client: PostgresClient,
    begin: readonly string[],
    opening: Opening,
  ): Promise<Opened> | undefined;
}

const commit = "commit";
const noNames: ReadonlyMap<string, string> = new Map();

/**
 * Openings over the extended protocol, whose statements, and those that will be the last ones, the server parses
 * and plans once per connection. They are prepared in their order, the last ones first: where a statement of the
 * opening is known by its name, those before it are too, so that a transaction which has begun does not fail at its
 * end. Behind a pooler that hands the server's connections round a name may be gone, or be there already; the
 * server says so before anything was executed, and from then on all is sent whole.
 */
export function preparedOpenings(): PreparedOpenings {
  const nameByText = new Map<string, string>();
  let isPrepared = true;

  const nameOf = (text: string): string => {
    const name = nameByText.get(text) ?? preparedName(text);
    nameByText.set(text, name);
    return name;
  };
  const namesOf = (texts: readonly string[]): ReadonlyMap<string, string> =>
    new Map(texts.map((text) => [text, nameOf(text)]));

  const send = async (
    client: WireClient,
    begin: readonly string[],
    opening: Opening,
  ): Promise<Opened> => {
    // The driver's own memory of what it has prepared: another store on the same pool has the same names.
    const { parsedStatements: known } = client.connection;
    const isNamed = isPrepared && typeof known === "object";
    const names = isNamed ? namesOf([commit, ...opening.prepared, ...begin]) : noNames;
    const fresh = [...names].filter(([, name]) => known?.[name] === undefined);
    const rows = await new Promise<readonly Row[]>((resolve, reject) => {
      client.query(new OpeningPipeline({ begin, opening, fresh, names }, resolve, reject));
    });
    for (const [text, name] of fresh) if (known !== undefined) known[name] = text;
    return { rows, names };
  };

  return {
    open(client, begin, opening) {
      const driver = wireOf(client);
      return (
        driver &&
        send(driver, begin, opening).catch(async (error: unknown) => {
          if (!isPrepared || !isUnprepared(error)) throw error;
          isPrepared = false;
          for (const text of [...opening.prepared, commit, ...begin]) {
            delete driver.connection.parsedStatements?.[nameOf(text)];
          }
          // BEGIN may have been run before the name was missed.
          await client.query("rollback");
          return send(driver, begin, opening);
        })
      );
    },
  };
}

interface Sending {
  readonly begin: readonly string[];
  readonly opening: Opening;
  /** Texts and names that this connection does not know yet. */
  readonly fresh: readonly (readonly [text: string, name: string])[];
  readonly names: ReadonlyMap<string, string>;
}

/** What is prepared, BEGIN, and the statements behind it, before one Sync: an error passes over all behind it. */
class OpeningPipeline {
  /** Not to be renamed: with a `query_timeout`, `pg` puts its own in its place. */
  callback: (error: unknown) => void;
  readonly #sending: Sending;
  readonly #rows: Row[] = [];
  #columns: readonly string[] = [];

  constructor(
    sending: Sending,
    resolve: (rows: readonly Row[]) => void,
    reject: (error: unknown) => void,
  ) {
    this.#sending = sending;
    this.callback = (error) => {
      if (error === null) resolve(this.#rows);
      else reject(error);
    };
  }

  /** For whoever watches the client's statements. */
  get text(): string {
    const { begin, opening } = this.#sending;
    return [...begin, ...opening.statements.map(({ text }) => text)].join("; ");
  }

  submit(connection: WireConnection): null {
    const { begin, opening, fresh, names } = this.#sending;
    corked(connection, () => {
      for (const [text, name] of fresh) connection.parse({ text, name });
      const first = begin.map((text): Statement => ({ text, params: [] }));
      for (const statement of [...first, ...opening.statements]) {
        const name = names.get(statement.text);
        // BEGIN and its like have no rows to describe, and nobody reads those of what has no parameters.
        sendStatement(connection, statement, { name, isRead: statement.params.length > 0 });
      }
      connection.sync();
    });
    return null;
  }

  handleRowDescription(message: { readonly fields: readonly { readonly name: string }[] }): void {
    this.#columns = message.fields.map(({ name }) => name);
  }

  handleDataRow({ fields }: { readonly fields: readonly unknown[] }): void {
    this.#rows.push(Object.fromEntries(this.#columns.map((name, at) => [name, fields[at]])));
  }

  handleCommandComplete(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}

  handleError(error: unknown): void {
    this.callback(error);
  }

  handleReadyForQuery(): void {
    this.callback(null);
  }
}
