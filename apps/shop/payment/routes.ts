import type { Pool } from "pg";
import { z } from "zod";
import type { HttpApp } from "../chassis/http-app.ts";
import { orderIdSchema } from "../contracts/http/fields.ts";
import { PageQuery, PaymentsPage, TimelinePart } from "../contracts/http/internal.ts";
import type { PaymentStatus } from "./domain.ts";
import type { StepPaymentStatus } from "./domain-steps.ts";
import * as sql from "./payment-sql.ts";

const limitDefault = 1_000;

/** What other services may read of payments. */
export function registerRoutes(app: HttpApp, pool: Pool): void {
  const config = { access: "service" } as const;

  const pageSchema = {
    tags: ["internal"],
    summary: "Payments by order id, a page at a time",
    querystring: PageQuery,
    response: { 200: PaymentsPage.describe("`next` is the `after` of the next page") },
  };
  app.get("/internal/payments", { config, schema: pageSchema }, async (request) => {
    const { after, limit = limitDefault } = request.query;
    return pageOf(pool, after, limit);
  });

  const timelineSchema = {
    tags: ["internal"],
    summary: "What happened to an order's payment",
    params: z.strictObject({ orderId: orderIdSchema }),
    response: { 200: TimelinePart.describe("By time; empty when there is no such payment") },
  };
  app.get("/internal/timeline/:orderId", { config, schema: timelineSchema }, (request) =>
    timelineOf(pool, request.params.orderId),
  );
}

interface PaymentRow {
  readonly order_id: string;
  readonly amount: string;
  readonly refunded_amount: string;
  readonly status: PaymentStatus | StepPaymentStatus;
  readonly flow: "choreographed" | "one-phase" | "two-phase";
  readonly authorized_amount: string;
  readonly captured_amount: string;
  readonly charged_amount: string;
  readonly voided_amount: string;
}

/** One more row than asked for says whether there is a next page. */
async function pageOf(
  pool: Pool,
  after: string | undefined,
  limit: number,
): Promise<z.infer<typeof PaymentsPage>> {
  const { rows } = await pool.query<PaymentRow>(sql.listPayments, [after, limit + 1]);
  const payments = rows.slice(0, limit).map(lineOf);
  const last = payments.at(-1);
  return rows.length > limit && last !== undefined
    ? { payments, next: last.orderId }
    : { payments };
}

function lineOf(row: PaymentRow): z.infer<typeof PaymentsPage>["payments"][number] {
  const { status, flow } = row;
  const amount = Number(row.amount);
  const isPaid = ["COMPLETED", "REFUNDING", "REFUNDED"].includes(status);
  return {
    orderId: row.order_id,
    amount,
    // A failed payment keeps nothing and owes nothing, even if its charge was made and given back.
    refunded: status === "FAILED" ? 0 : Number(row.refunded_amount),
    status: wireStatuses[status],
    authorized: Number(row.authorized_amount),
    captured: Number(row.captured_amount),
    // Of a choreographed payment the status says whether its one charge was acknowledged.
    charged: flow !== "choreographed" ? Number(row.charged_amount) : isPaid ? amount : 0,
    voided: Number(row.voided_amount),
  };
}

/** Whether the order's money is taken: what is only held is not, and what is let go of never was. */
const wireStatuses: Readonly<Record<PaymentRow["status"], PaymentStatus>> = {
  PROCESSING: "PROCESSING",
  AUTHORIZED: "PROCESSING",
  VOIDING: "PROCESSING",
  VOIDED: "FAILED",
  COMPLETED: "COMPLETED",
  FAILED: "FAILED",
  REFUNDING: "REFUNDING",
  REFUNDED: "REFUNDED",
};

interface HistoryRow {
  readonly what: string;
  readonly is_compensation: boolean;
  readonly is_step: boolean;
  readonly detail: Readonly<Record<string, string | number | boolean>>;
  readonly created_at: Date;
}

async function timelineOf(pool: Pool, orderId: string): Promise<z.infer<typeof TimelinePart>> {
  const { rows } = await pool.query<HistoryRow>(sql.listHistory, [orderId]);
  return {
    entries: rows.map((row) => ({
      at: row.created_at.toISOString(),
      service: "payment",
      kind: kindOf(row),
      what: row.what,
      detail: row.detail,
    })),
  };
}

function kindOf(row: HistoryRow): "compensation" | "step" | "payment" {
  if (row.is_compensation) return "compensation";
  return row.is_step ? "step" : "payment";
}
