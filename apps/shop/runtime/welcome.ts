import type { ServiceName } from "../chassis/config.ts";
import { serviceNames } from "./services.ts";

/** What a shop that has just started tells about itself. */
export interface WelcomeFacts {
  readonly url: string;
  readonly urls: Readonly<Record<ServiceName, string>>;
  readonly postgresAddress: string;
  readonly data: string;
  /** Whether PostgreSQL's data is in the data folder too. */
  readonly keepsDatabase: boolean;
  readonly token: string;
  readonly seconds: number;
  readonly processCount?: number;
}

const descriptions: Readonly<Record<ServiceName, string>> = {
  gateway: "the public API; its documentation is under /docs",
  order: "orders, returns and the checkout",
  payment: "payments and refunds",
  inventory: "stock and reservations",
  delivery: "deliveries",
  notification: "what was sent to whom",
  provider: "the fake payment provider with its own ledger",
};

/** The product that a shop has from the start, so that the first order succeeds. */
export const demoProduct = { productId: "teapot", name: "Teapot", available: 1000 } as const;

/** Everything a newcomer needs to go on, as it is printed. */
export function welcome(facts: WelcomeFacts): string {
  const processes = facts.processCount === undefined ? "" : ` in ${facts.processCount} processes`;
  const order = {
    items: [{ productId: demoProduct.productId, quantity: 2, unitPrice: 1250 }],
    currency: "GBP",
  };
  return `The shop is ready after ${facts.seconds.toFixed(1)} s${processes}.

${serviceNames.map((name) => row(name, facts.urls[name], descriptions[name])).join("\n")}
${row("postgres", facts.postgresAddress, facts.keepsDatabase ? "" : "not ours")}

Order two teapots (the token is good for an hour; POST /demo/token gives another):

  TOKEN=${facts.token}
  curl -i ${facts.url}/orders -H "authorization: Bearer $TOKEN" \\
    -H "idempotency-key: order-$(date +%s)" -H "content-type: application/json" \\
    -d '${JSON.stringify(order)}'

Then see what became of it:

  curl -s ${facts.url}/orders -H "authorization: Bearer $TOKEN"

Data is kept in ${facts.data} (--fresh wipes it). Ctrl-C stops the shop.
`;
}

function row(name: string, address: string, description: string): string {
  return `  ${name.padEnd(13)} ${address.padEnd(24)} ${description}`.trimEnd();
}
