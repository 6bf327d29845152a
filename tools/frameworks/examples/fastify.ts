// Fastify: the handler writes and answers in one transaction; a repeat gets the first answer.
import { idempotent } from "dure/http/fastify";
import Fastify from "fastify";
import type { FastifyRequest } from "fastify";
import { openShop } from "./shop.ts";

const { dure, placeOrder, show, close } = await openShop();
const app = Fastify();

app.post(
  "/orders",
  idempotent(
    dure,
    { principal: (_request: FastifyRequest) => "anyone" },
    async ({ request, tx }) => ({ status: 201, body: await placeOrder(tx, request.body) }),
  ),
);

await show(await app.listen({ port: 0, host: "127.0.0.1" }));

await app.close();
await close();
