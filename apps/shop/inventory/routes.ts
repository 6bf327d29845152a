import type { HttpApp } from "../chassis/http-app.ts";
import { principalOf } from "../chassis/principal.ts";
import { ProblemError } from "../chassis/problem.ts";
import {
  productParamsSchema,
  productStockSchema,
  productViewSchema,
} from "../contracts/http/products.ts";
import type { Products } from "./products.ts";

/** What the gateway asks on behalf of merchants and customers. */
export function registerProductRoutes(app: HttpApp, products: Products): void {
  const tags = ["products"];
  const response = { 200: productViewSchema.describe("The product") };

  const writeSchema = {
    tags,
    summary: "Create a product, or set its available quantity",
    params: productParamsSchema,
    body: productStockSchema,
    response,
  };
  app.put(
    "/products/:productId",
    { config: { access: ["merchant"] }, schema: writeSchema },
    (request) => products.set(request.params.productId, request.body, principalOf(request).userId),
  );

  const readSchema = {
    tags,
    summary: "Read a product and its stock",
    params: productParamsSchema,
    response,
  };
  app.get(
    "/products/:productId",
    { config: { access: "service" }, schema: readSchema },
    async (request) => {
      const product = await products.read(request.params.productId);
      if (product === undefined) throw new ProblemError("NOT_FOUND", "There is no such product.");
      return product;
    },
  );
}
