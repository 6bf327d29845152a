import { readPounds } from "./money.ts";

/** The columns of a file of orders that the replay looks at. */
export const requiredColumns = [
  "InvoiceNo",
  "StockCode",
  "Description",
  "Quantity",
  "UnitPrice",
  "CustomerID",
] as const;

/** One line of the file, by column. */
export type CsvRecord = Readonly<Record<(typeof requiredColumns)[number], string>>;

/** Why a line is no sale. */
export type RejectReason =
  | "unreadable"
  | "adjustment invoice"
  | "negative quantity on an ordinary invoice"
  | "quantity 0"
  | "negative price"
  | "price 0"
  | "more than the shop takes";

/** One line of an ordinary invoice that sells something. */
export interface SaleLine {
  readonly productId: string;
  readonly productName: string;
  readonly quantity: number;
  readonly unitPrice: number;
  /** Whether the file's price was finer than a penny. */
  readonly isRounded: boolean;
}

/** What a line of the file turns out to be. */
export type ReadLine =
  | { readonly kind: "sale"; readonly line: SaleLine }
  /** A line of a cancellation invoice. */
  | { readonly kind: "return" }
  | { readonly kind: "rejected"; readonly reason: RejectReason };

/** What the public API takes in one line. */
const quantityMax = 1_000_000;
const unitPriceMax = 1_000_000_000;
const productIdLengthMax = 64;
const nameLengthMax = 200;

/** Tells a sale from all that also stands in such files. */
export function readSaleLine(record: CsvRecord): ReadLine {
  const invoice = record.InvoiceNo.trim();
  if (/^c/i.test(invoice)) return { kind: "return" };
  if (/^[a-z]/i.test(invoice)) return rejected("adjustment invoice");
  const productId = plain(record.StockCode);
  const quantity = readQuantity(record.Quantity);
  const price = readPounds(record.UnitPrice);
  if (invoice === "" || productId === "" || quantity === undefined) return rejected("unreadable");
  if (price.kind === "unreadable") return rejected("unreadable");
  if (quantity < 0) return rejected("negative quantity on an ordinary invoice");
  if (quantity === 0) return rejected("quantity 0");
  if (price.pence < 0) return rejected("negative price");
  if (price.pence === 0) return rejected("price 0");
  if (
    quantity > quantityMax ||
    price.pence > unitPriceMax ||
    productId.length > productIdLengthMax
  ) {
    return rejected("more than the shop takes");
  }
  const productName = plain(record.Description).slice(0, nameLengthMax);
  const { pence: unitPrice, isRounded } = price;
  return { kind: "sale", line: { productId, productName, quantity, unitPrice, isRounded } };
}

/** Text as the shop takes it: without control characters and the blanks around it. */
export function plain(text: string): string {
  return text
    .toWellFormed()
    .replace(/\p{Cc}+/gu, " ")
    .trim();
}

function readQuantity(text: string): number | undefined {
  return /^-?\d{1,9}$/.test(text.trim()) ? Number(text) : undefined;
}

function rejected(reason: RejectReason): ReadLine {
  return { kind: "rejected", reason };
}
