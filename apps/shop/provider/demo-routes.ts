import type { Pool } from "pg";
import { z } from "zod";
import { providerFaultsSchema } from "../contracts/http/faults.ts";
import { orderIdSchema } from "../contracts/http/fields.ts";
import {
  admissionCountsSchema,
  ledgerSchema,
  ledgerSummarySchema,
} from "../contracts/http/provider.ts";
import type { HttpApp } from "../chassis/http-app.ts";
import { loopbackOnly } from "../chassis/loopback.ts";
import type { Admission } from "./admission.ts";
import type { FaultInjector } from "./faults.ts";
import { listLedger, summarizeLedger } from "./ledger.ts";

/** What the routes show and change. */
interface DemoParts {
  readonly pool: Pool;
  readonly faults: FaultInjector;
  readonly admission: Admission;
}

/** What exists in demo mode only, on the machine itself, without a token: faults and the ledger. */
export function registerDemoRoutes(app: HttpApp, parts: DemoParts): void {
  const { pool, faults, admission } = parts;
  const route = { config: { access: "public" }, preHandler: loopbackOnly } as const;

  const faultsSchema = {
    tags: ["demo"],
    summary: "Replace all faults; what is left out is off",
    body: providerFaultsSchema,
    response: { 200: providerFaultsSchema.describe("The faults in force") },
  };
  app.put("/faults", { ...route, schema: faultsSchema }, (request) => {
    faults.replace(request.body);
    return request.body;
  });

  const admissionSchema = {
    tags: ["demo"],
    summary: "How many came, how many at once, and how many were refused",
    response: { 200: admissionCountsSchema.describe("Since the start") },
  };
  app.get("/admission", { ...route, schema: admissionSchema }, () => admission.counts());

  const entriesSchema = {
    tags: ["demo"],
    summary: "Every movement of money, of one order or of all",
    querystring: z.strictObject({ orderId: orderIdSchema.optional() }),
    response: { 200: ledgerSchema.describe("Oldest first") },
  };
  app.get("/ledger", { ...route, schema: entriesSchema }, async (request) => ({
    entries: await listLedger(pool, request.query.orderId),
  }));

  const summarySchema = {
    tags: ["demo"],
    summary: "The ledger added up by order",
    response: { 200: ledgerSummarySchema.describe("By order id") },
  };
  app.get("/ledger/summary", { ...route, schema: summarySchema }, async () => ({
    orders: await summarizeLedger(pool),
  }));
}
