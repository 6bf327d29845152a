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
  | "positive quantity on a cancellation invoice"
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

/** One line of a cancellation invoice that brings something back. */
export interface ReturnLine {
  readonly productId: string;
  readonly quantity: number;
  /** Only noted by the shop, so what cannot be noted is left out. */
  readonly unitPrice?: number;
}

/** What a line of the file turns out to be. */
export type ReadLine =
  | { readonly kind: "sale"; readonly line: SaleLine }
  | { readonly kind: "return"; readonly line: ReturnLine }
  | { readonly kind: "rejected"; readonly reason: RejectReason };

/** What the public API takes in one line. */
const quantityMax = 1_000_000;
const unitPriceMax = 1_000_000_000;
const productIdLengthMax = 64;
const nameLengthMax = 200;

/** Tells a sale from all that also stands in such files. */
export function readSaleLine(record: CsvRecord): ReadLine {
  const invoice = record.InvoiceNo.trim();
  if (isCancellation(invoice)) return readReturnLine(record);
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

/** Whether an invoice takes goods back. */
export function isCancellation(invoice: string): boolean {
  return /^c/i.test(invoice.trim());
}

function readReturnLine(record: CsvRecord): ReadLine {
  const productId = plain(record.StockCode);
  const quantity = readQuantity(record.Quantity);
  if (productId === "" || quantity === undefined) return rejected("unreadable");
  if (quantity > 0) return rejected("positive quantity on a cancellation invoice");
  if (quantity === 0) return rejected("quantity 0");
  if (-quantity > quantityMax || productId.length > productIdLengthMax) {
    return rejected("more than the shop takes");
  }
  const price = readPounds(record.UnitPrice);
  const isNoted = price.kind === "price" && price.pence > 0 && price.pence <= unitPriceMax;
  const noted = isNoted ? { unitPrice: price.pence } : {};
  return { kind: "return", line: { productId, quantity: -quantity, ...noted } };
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
