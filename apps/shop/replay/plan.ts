import type { OrderItem } from "../contracts/http/orders.ts";
import { plain, readSaleLine } from "./sale-line.ts";
import type { CsvRecord, RejectReason } from "./sale-line.ts";

/** One order to post: an invoice with what is left of its lines. */
export interface PlannedOrder {
  readonly invoice: string;
  readonly customer: string;
  readonly items: readonly OrderItem[];
  /** In pence. */
  readonly amount: number;
}

/** A product of the file, and how much of it all planned orders ask for. */
export interface PlannedProduct {
  readonly productId: string;
  readonly name: string;
  readonly quantity: number;
}

/** What a file of orders comes to before anything is posted. */
export interface Plan {
  readonly lineCount: number;
  readonly invoiceCount: number;
  /** In the file's order. */
  readonly orders: readonly PlannedOrder[];
  readonly products: readonly PlannedProduct[];
  /** Lines that are no sale, by reason. */
  readonly rejects: ReadonlyMap<RejectReason, number>;
  /** Ordinary invoices of which no line is left, or that are too large for one order. */
  readonly rejectedInvoiceCount: number;
  /** Prices that were finer than a penny. */
  readonly roundedCount: number;
  /** Cancellation invoices: counted, not replayed yet. */
  readonly returns: { readonly invoiceCount: number; readonly lineCount: number };
}

/** The customer of invoices without a CustomerID. */
export const guest = "guest";
const itemsMax = 1000;

/**
 * Turns the lines of a file into orders. Lines of one invoice belong together wherever they stand;
 * an invoice's place is that of its first line.
 *
 * @param limit how many invoices of the file count, the first ones
 */
export function planOrders(
  records: Iterable<CsvRecord>,
  limit: number = Number.POSITIVE_INFINITY,
): Plan {
  const draft = new PlanDraft();
  for (const record of records) draft.add(record, limit);
  return draft.finish();
}

/** The orders of each customer in the file's order; customers in the order of their first one. */
export function byCustomer(orders: readonly PlannedOrder[]): readonly (readonly PlannedOrder[])[] {
  const queues = new Map<string, PlannedOrder[]>();
  for (const order of orders) {
    const queue = queues.get(order.customer);
    if (queue === undefined) queues.set(order.customer, [order]);
    else queue.push(order);
  }
  return [...queues.values()];
}

/** How much of a product is put on the shelf: all that is asked for, or about 70 % of it. */
export function stockFor(product: PlannedProduct, stock: "ample" | "tight"): number {
  return stock === "ample" ? product.quantity : Math.floor((product.quantity * 7) / 10);
}

interface InvoiceDraft {
  readonly isReturn: boolean;
  customer: string;
  readonly items: OrderItem[];
}

class PlanDraft {
  readonly #invoices = new Map<string, InvoiceDraft>();
  readonly #names = new Map<string, string>();
  readonly #rejects = new Map<RejectReason, number>();
  #lineCount = 0;
  #roundedCount = 0;
  #returnLineCount = 0;

  add(record: CsvRecord, limit: number): void {
    const read = readSaleLine(record);
    const invoice = this.#invoiceOf(record, read.kind === "return", limit);
    if (invoice === undefined) return;
    this.#lineCount += 1;
    invoice.customer ||= plain(record.CustomerID).slice(0, 128);
    if (read.kind === "return") {
      this.#returnLineCount += 1;
    } else if (read.kind === "rejected") {
      this.#reject(read.reason, 1);
    } else {
      const { productId, productName, quantity, unitPrice, isRounded } = read.line;
      invoice.items.push({ productId, quantity, unitPrice });
      if (isRounded) this.#roundedCount += 1;
      if (!this.#names.get(productId)) this.#names.set(productId, productName);
    }
  }

  finish(): Plan {
    const invoices = [...this.#invoices];
    const returns = invoices.filter(([, draft]) => draft.isReturn);
    const sales = invoices.filter(([, draft]) => !draft.isReturn);
    const orders = sales.flatMap(([invoice, draft]) => this.#orderOf(invoice, draft) ?? []);
    return {
      lineCount: this.#lineCount,
      invoiceCount: invoices.length,
      orders,
      products: this.#productsOf(orders),
      rejects: this.#rejects,
      rejectedInvoiceCount: sales.length - orders.length,
      roundedCount: this.#roundedCount,
      returns: { invoiceCount: returns.length, lineCount: this.#returnLineCount },
    };
  }

  #invoiceOf(record: CsvRecord, isReturn: boolean, limit: number): InvoiceDraft | undefined {
    const number = record.InvoiceNo.trim();
    const known = this.#invoices.get(number);
    if (known !== undefined) return known;
    if (this.#invoices.size >= limit) return undefined;
    const invoice: InvoiceDraft = { isReturn, customer: "", items: [] };
    this.#invoices.set(number, invoice);
    return invoice;
  }

  #orderOf(invoice: string, draft: InvoiceDraft): PlannedOrder | undefined {
    const { customer, items } = draft;
    const amount = items.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0);
    if (items.length > itemsMax || amount > Number.MAX_SAFE_INTEGER) {
      this.#reject("more than the shop takes", items.length);
      return undefined;
    }
    return items.length === 0 ? undefined : { invoice, customer: customer || guest, items, amount };
  }

  #productsOf(orders: readonly PlannedOrder[]): readonly PlannedProduct[] {
    const quantities = new Map<string, number>();
    for (const { productId, quantity } of orders.flatMap((order) => order.items)) {
      quantities.set(productId, (quantities.get(productId) ?? 0) + quantity);
    }
    return [...quantities].map(([productId, quantity]) => {
      return { productId, name: this.#names.get(productId) || productId, quantity };
    });
  }

  #reject(reason: RejectReason, count: number): void {
    this.#rejects.set(reason, (this.#rejects.get(reason) ?? 0) + count);
  }
}
