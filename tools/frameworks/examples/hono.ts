// Hono: the handler writes and answers in one transaction; a repeat gets the first answer.
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { idempotent } from "dure/http/hono";
import { Hono } from "hono";
import type { Context } from "hono";
import { openShop } from "./shop.ts";

const { dure, placeOrder, show, close } = await openShop();
const app = new Hono();

app.post(
  "/orders",
  idempotent(dure, { principal: (_c: Context) => "anyone" }, async ({ c, tx }) =>
    c.json(await placeOrder(tx, await c.req.json()), 201),
  ),
);
app.onError((_error, c) => c.json({ error: "something went wrong" }, 500));

// What @hono/node-server does, in short: Node's request in, a fetch response out.
const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request) chunks.push(chunk as Uint8Array);
  const answer = await app.request(`http://shop.example${request.url}`, {
    method: request.method ?? "GET",
    headers: request.headers as Record<string, string>,
    body: Buffer.concat(chunks),
  });
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  response.end(await answer.bytes());
};
const server = createServer((request, response) => void serve(request, response));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
await show(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);

server.closeAllConnections();
server.close();
await close();
