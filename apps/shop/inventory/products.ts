import type { Pool } from "pg";
import type { ServiceDure } from "../chassis/messaging.ts";
import { StockChanged } from "../contracts/events.ts";
import type { ProductStock, ProductView } from "../contracts/http/products.ts";
import * as sql from "./product-sql.ts";

/** The merchant's side of the stock. */
export interface Products {
  /**
   * Creates the product or sets what is available of it; what is reserved or sold stays. The
   * difference is journalled and, if there was one, `stock.changed` emitted, in the same commit.
   */
  set(productId: string, stock: ProductStock, userId: string): Promise<ProductView>;
  read(productId: string): Promise<ProductView | undefined>;
}

/** Products in the service's own database. */
export function createProducts(pool: Pool, dure: ServiceDure): Products {
  return {
    set: (productId, { name, available }, userId) =>
      dure.transaction(async (tx) => {
        const created = await tx.query(sql.insertProduct, [productId, name]);
        const before = viewOf((await tx.query(sql.lockProduct, [productId])).rows[0]);
        if (before === undefined) throw new Error("inventory:product.lock follows its insert");
        const difference = available - before.available;
        const isNew = created.rowCount === 1;
        if (difference === 0 && before.name === name && !isNew) return before;
        await tx.query(sql.updateProduct, [name, available, productId]);
        if (difference !== 0) {
          await tx.query(sql.insertAdjustment, [productId, difference, userId]);
        }
        tx.emit(StockChanged, { productIds: [productId] });
        return { ...before, name, available };
      }),
    async read(productId) {
      return viewOf((await pool.query<Row>(sql.readProduct, [productId])).rows[0]);
    },
  };
}

type Row = Readonly<Record<string, unknown>>;

/** Quantities come as text, because a bigint need not fit a number; the shop's do. */
function viewOf(row: Row | undefined): ProductView | undefined {
  if (row === undefined) return undefined;
  return {
    productId: String(row["product_id"]),
    name: String(row["product_name"]),
    available: Number(row["available_quantity"]),
    reserved: Number(row["reserved_quantity"]),
    sold: Number(row["sold_quantity"]),
  };
}
