import type { OrderItem } from "../contracts/http/orders.ts";
import { isCancellation, plain, readSaleLine } from "./sale-line.ts";
import type { CsvRecord, RejectReason, ReturnLine } from "./sale-line.ts";

/** One order to post: an invoice with what is left of its lines. */
export interface PlannedOrder {
  readonly invoice: string;
  readonly customer: string;
  readonly items: readonly OrderItem[];
  /** In pence. */
  readonly amount: number;
}

/** One return to post: a cancellation invoice with what is left of its lines. */
export interface PlannedReturn {
  readonly isReturn: true;
  readonly invoice: string;
  readonly customer: string;
  readonly items: readonly ReturnLine[];
}

/** What is posted of a file, one by one. */
export type PlannedInvoice = PlannedOrder | PlannedReturn;

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
  /** All that is posted, in the file's order. */
  readonly invoices: readonly PlannedInvoice[];
  /** Of these, the orders. */
  readonly orders: readonly PlannedOrder[];
  readonly products: readonly PlannedProduct[];
  /** Lines that are no sale, by reason. */
  readonly rejects: ReadonlyMap<RejectReason, number>;
  /** Invoices of which no line is left, or that are too large for one request. */
  readonly rejectedInvoiceCount: number;
  /** Prices that were finer than a penny. */
  readonly roundedCount: number;
  /** Cancellation invoices that are posted, and their lines. */
  readonly returns: { readonly invoiceCount: number; readonly lineCount: number };
}

/** The customer of invoices without a CustomerID. */
export const guest = "guest";
const itemsMax = 1000;
/** More often than days of replaying post one file. */
const lapsMax = 100_000;

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

/** Whether an invoice takes goods back. */
export function isReturn(invoice: PlannedInvoice): invoice is PlannedReturn {
  return "isReturn" in invoice;
}

/** What each customer does, in the file's order; customers in the order of their first invoice. */
export function byCustomer<Invoice extends PlannedInvoice>(
  invoices: readonly Invoice[],
): readonly (readonly Invoice[])[] {
  return [...Map.groupBy(invoices, ({ customer }) => customer).values()];
}

/** What is put on the shelf: all that is asked for, about 70 % of it, or enough for a file that comes again and again. */
export type StockLevel = "ample" | "tight" | "endless";

/** How much of a product is put on the shelf. */
export function stockFor(product: PlannedProduct, stock: StockLevel): number {
  if (stock === "endless") return product.quantity * lapsMax;
  return stock === "ample" ? product.quantity : Math.floor((product.quantity * 7) / 10);
}

interface InvoiceDraft {
  readonly isCanceling: boolean;
  customer: string;
  readonly items: OrderItem[];
  readonly returned: ReturnLine[];
}

class PlanDraft {
  readonly #invoices = new Map<string, InvoiceDraft>();
  readonly #names = new Map<string, string>();
  readonly #rejects = new Map<RejectReason, number>();
  #lineCount = 0;
  #roundedCount = 0;

  add(record: CsvRecord, limit: number): void {
    const read = readSaleLine(record);
    const invoice = this.#invoiceOf(record, limit);
    if (invoice === undefined) return;
    this.#lineCount += 1;
    invoice.customer ||= plain(record.CustomerID).slice(0, 128);
    if (read.kind === "return") {
      invoice.returned.push(read.line);
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
    const drafts = [...this.#invoices];
    const invoices = drafts.flatMap(([invoice, draft]) => this.#plannedOf(invoice, draft) ?? []);
    const orders = invoices.flatMap((each) => (isReturn(each) ? [] : [each]));
    const returns = invoices.filter(isReturn);
    return {
      lineCount: this.#lineCount,
      invoiceCount: drafts.length,
      invoices,
      orders,
      products: this.#productsOf(orders),
      rejects: this.#rejects,
      rejectedInvoiceCount: drafts.length - invoices.length,
      roundedCount: this.#roundedCount,
      returns: {
        invoiceCount: returns.length,
        lineCount: returns.reduce((sum, { items }) => sum + items.length, 0),
      },
    };
  }

  #invoiceOf(record: CsvRecord, limit: number): InvoiceDraft | undefined {
    const number = record.InvoiceNo.trim();
    const known = this.#invoices.get(number);
    if (known !== undefined) return known;
    if (this.#invoices.size >= limit) return undefined;
    const isCanceling = isCancellation(number);
    const invoice: InvoiceDraft = { isCanceling, customer: "", items: [], returned: [] };
    this.#invoices.set(number, invoice);
    return invoice;
  }

  #plannedOf(invoice: string, draft: InvoiceDraft): PlannedInvoice | undefined {
    const customer = draft.customer || guest;
    const { isCanceling, items, returned } = draft;
    const amount = items.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0);
    const lines = isCanceling ? returned : items;
    if (lines.length > itemsMax || amount > Number.MAX_SAFE_INTEGER) {
      this.#reject("more than the shop takes", lines.length);
      return undefined;
    }
    if (lines.length === 0) return undefined;
    if (isCanceling) return { isReturn: true, invoice, customer, items: returned };
    return { invoice, customer, items, amount };
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
