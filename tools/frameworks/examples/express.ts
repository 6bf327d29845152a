// Express: the handler writes and answers in one transaction; a repeat gets the first answer.
import type { AddressInfo } from "node:net";
import { idempotent } from "dure/http/express";
import express from "express";
import type { Request, Response } from "express";
import { openShop } from "./shop.ts";
import type { Keyed } from "./shop.ts";

const { dure, placeOrder, show, close } = await openShop();
const app = express();
app.use(express.json());

app.post(
  "/orders",
  idempotent<Request, Response, Keyed>(
    dure,
    { principal: () => "anyone" },
    async ({ request, response, tx }) => {
      response.status(201).json(await placeOrder(tx, request.body));
    },
  ),
);

app.use((_error: Error, _request: unknown, response: Response, _next: unknown) => {
  response.status(500).json({ error: "something went wrong" });
});

const server = app.listen(0);
await new Promise((resolve) => server.once("listening", resolve));
await show(`http://localhost:${(server.address() as AddressInfo).port}`);

server.closeAllConnections();
server.close();
await close();
