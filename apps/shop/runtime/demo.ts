import { demoTokenSchema } from "../contracts/http/demo-token.ts";
import type { DemoRole } from "../contracts/http/demo-token.ts";
import { SetupError } from "./setup-error.ts";
import { demoProduct } from "./welcome.ts";

/** Puts the first product on the shelf and answers a customer's token. */
export async function openForVisitors(url: string): Promise<string> {
  const merchant = await demoToken(url, "merchant", ["merchant"]);
  const { productId, ...stock } = demoProduct;
  const path = `/products/${productId}`;
  const known = await send(url, path, { token: merchant });
  // A shop that was used before keeps its own figures.
  if (known.status === 404) await send(url, path, { token: merchant, method: "PUT", body: stock });
  return demoToken(url, "ada", ["customer"]);
}

async function demoToken(url: string, userId: string, roles: readonly DemoRole[]): Promise<string> {
  const answer = await send(url, "/demo/token", { method: "POST", body: { userId, roles } });
  const { data } = demoTokenSchema.safeParse(answer.body);
  if (data === undefined) throw new SetupError(`${url}/demo/token answered ${answer.status}`);
  return data.token;
}

interface Call {
  readonly method?: string;
  readonly token?: string;
  readonly body?: unknown;
}

async function send(url: string, path: string, call: Call) {
  const { method = "GET", token, body } = call;
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(10_000),
  });
  return { status: response.status, body: (await response.json()) as unknown };
}
