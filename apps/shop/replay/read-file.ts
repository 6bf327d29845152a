import { readFile } from "node:fs/promises";
import { parse } from "csv-parse/sync";
import { UsageError } from "../runtime/setup-error.ts";
import { requiredColumns } from "./sale-line.ts";
import type { CsvRecord } from "./sale-line.ts";

/**
 * Reads the whole file: half a million lines fit into memory, and the stock must be known before
 * the first order. A line with missing columns has empty ones.
 *
 * @throws UsageError when there is no such file, or it has other columns
 */
export async function readRecords(path: string): Promise<readonly CsvRecord[]> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new UsageError(`The file cannot be read: ${why}`, { cause: error });
  });
  const rows: Partial<Record<string, string>>[] = parse(text, {
    bom: true,
    columns: checkHeader,
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
  });
  return rows.map(complete);
}

function checkHeader(header: readonly string[]): string[] {
  const columns = header.map((name) => name.trim());
  const missing = requiredColumns.filter((name) => !columns.includes(name));
  if (missing.length === 0) return columns;
  throw new UsageError(`The file has no column ${missing.join(", ")}`);
}

function complete(row: Partial<Record<string, string>>): CsvRecord {
  return {
    InvoiceNo: row["InvoiceNo"] ?? "",
    StockCode: row["StockCode"] ?? "",
    Description: row["Description"] ?? "",
    Quantity: row["Quantity"] ?? "",
    UnitPrice: row["UnitPrice"] ?? "",
    CustomerID: row["CustomerID"] ?? "",
  };
}
