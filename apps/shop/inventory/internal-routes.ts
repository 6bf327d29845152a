import type { Pool } from "pg";
import type { HttpApp } from "../chassis/http-app.ts";
import {
  PageQuery,
  ReservationsPage,
  StockPage,
  TimelinePart,
} from "../contracts/http/internal.ts";
import { orderParamsSchema } from "../contracts/http/orders.ts";
import { readReservationsPage, readStockPage, readTimeline } from "./reports.ts";

/** What the other services read to compare, and to tell an order's story. */
export function registerInternalRoutes(app: HttpApp, pool: Pool): void {
  const config = { access: "service" } as const;
  const tags = ["internal"];

  const stockSchema = {
    tags,
    summary: "Every product's stock, and what its journal adds up to",
    querystring: PageQuery,
    response: { 200: StockPage.describe("By product id") },
  };
  app.get("/internal/stock", { config, schema: stockSchema }, (request) =>
    readStockPage(pool, request.query),
  );

  const reservationsSchema = {
    tags,
    summary: "Every reservation; an order's rows are never split",
    querystring: PageQuery,
    response: { 200: ReservationsPage.describe("By order id") },
  };
  app.get("/internal/reservations", { config, schema: reservationsSchema }, (request) =>
    readReservationsPage(pool, request.query),
  );

  const timelineSchema = {
    tags,
    summary: "What happened to an order's stock",
    params: orderParamsSchema,
    response: { 200: TimelinePart.describe("Oldest first") },
  };
  app.get("/internal/timeline/:orderId", { config, schema: timelineSchema }, async (request) => ({
    entries: await readTimeline(pool, request.params.orderId),
  }));
}
