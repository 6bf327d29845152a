import type { HttpApp } from "../chassis/http-app.ts";
import { pathOf } from "../chassis/peer-client.ts";
import type { PeerClient } from "../chassis/peer-client.ts";
import { userRoles } from "../chassis/principal.ts";
import {
  productParamsSchema,
  productStockSchema,
  productViewSchema,
} from "../contracts/http/products.ts";
import { askOwner, passOn } from "./forward.ts";
import type { ProductCache } from "./product-cache.ts";

/** Products belong to inventory. Reads are cached: they are the same for everyone. */
export function registerProductRoutes(
  app: HttpApp,
  inventory: PeerClient,
  cache: ProductCache,
): void {
  const tags = ["products"];

  const writeSchema = {
    tags,
    summary: "Create a product, or set its available quantity",
    params: productParamsSchema,
    body: productStockSchema,
    response: { 200: productViewSchema.describe("The product") },
  };
  app.put(
    "/products/:productId",
    { config: { access: ["merchant"] }, schema: writeSchema },
    async (request, reply) => {
      const { productId } = request.params;
      const path = pathOf("products", productId);
      const call = { method: "PUT", path, body: request.body } as const;
      // Whatever comes of it: without an answer, too, the change may have happened.
      const answer = await askOwner(inventory, request, call).finally(() =>
        cache.invalidate(productId),
      );
      return passOn(reply, answer);
    },
  );

  const readSchema = {
    tags,
    summary: "Read a product and its stock",
    params: productParamsSchema,
    response: { 200: productViewSchema.describe("The product") },
  };
  app.get(
    "/products/:productId",
    { config: { access: userRoles }, schema: readSchema },
    async (request, reply) => {
      const { productId } = request.params;
      const call = { method: "GET", path: pathOf("products", productId) } as const;
      return passOn(reply, await cache.read(productId, () => askOwner(inventory, request, call)));
    },
  );
}
