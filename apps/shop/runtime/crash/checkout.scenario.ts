/**
 * One orchestrated checkout through the whole shop, in one process: gateway, order, payment, inventory,
 * delivery and the provider, each with its own database and HTTP between them. SHOP_COURSE says how it goes.
 */
import type { Invariant, Scene } from "dure/explorer";
import type { ServiceName } from "../../chassis/config.ts";
import type { ServiceInstruments } from "../../chassis/instruments.ts";
import { acceptedOrderSchema } from "../../contracts/http/orders.ts";
import { createShopClient } from "../../replay/shop-client.ts";
import type { ShopCall, ShopClient, ShopUser } from "../../replay/shop-client.ts";
import { isPollingStatement } from "./polling-statements.ts";
import { startCrashShop } from "./crash-shop.ts";
import type { CrashShop } from "./crash-shop.ts";
import { readEndState, readStory, waitForRest } from "./end-state.ts";

/** `completed`: in two phases; `undone`: in one phase, the delivery is refused; `canceled`: after it was completed. */
const course = process.env["SHOP_COURSE"] ?? "completed";

/** How order, money, goods (available, reserved, sold) and delivery end: an order of two pieces of ten, at 5.00 each. */
const stories: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  completed: {
    order: "COMPLETED",
    provider: "authorize 1000,capture 1000",
    inventory: "8 0 2",
    delivery: "STARTED",
  },
  undone: {
    order: "CANCELED",
    provider: "charge 1000,refund 1000",
    inventory: "10 0 0",
    delivery: "REFUSED",
  },
  canceled: {
    order: "CANCELED",
    provider: "authorize 1000,capture 1000,refund 1000",
    inventory: "10 0 0",
    delivery: "STOPPED",
  },
};
const ada: ShopUser = { userId: "ada", roles: ["customer"] };
const merchant: ShopUser = { userId: "merchant", roles: ["merchant"] };

/** Points are met while this is open: not at the start of the services. */
interface Gate {
  isOpen: boolean;
}

export async function prepare(scene: Scene): Promise<void> {
  await using shop = await startShop(scene);
  const body = { name: "A thing", available: 10 };
  const path = "/products/p-1";
  await clientOf(shop).send({ url: shop.gatewayUrl, path, method: "PUT", as: merchant, body });
  if (course === "canceled") await placeOrder(scene, shop);
}

export async function scenario(scene: Scene): Promise<void> {
  const gate: Gate = { isOpen: false };
  await using shop = await startShop(scene, gate);
  gate.isOpen = true;
  await doBusiness(scene, shop);
  gate.isOpen = false;
}

/** The next process; and the client, who has no answer, asks again with the same keys. */
export async function recover(scene: Scene): Promise<void> {
  await using shop = await startShop(scene);
  await doBusiness(scene, shop);
}

export function observe(scene: Scene): Promise<unknown> {
  return readEndState(scene.databaseUrls);
}

/** The snapshots say that it came out as without the fault; this says that it came out right. */
const oneStory: Invariant = async ({ databaseUrls }) => {
  const found = await readStory(databaseUrls);
  return Object.entries(stories[course] ?? {}).flatMap(([service, told]) =>
    found[service] === told ? [] : [`${service} says ${String(found[service])}, not ${told}`],
  );
};

export const invariants: Readonly<Record<string, Invariant>> = { oneStory };

function startShop({ databaseUrls, explorerPool, point }: Scene, gate?: Gate): Promise<CrashShop> {
  const instruments = (service: ServiceName): ServiceInstruments => ({
    pool: (pool) =>
      explorerPool(pool, {
        name: service,
        only: (statement) => gate?.isOpen === true && !isPollingStatement(statement),
      }),
    call: (name, send) => (gate?.isOpen === true ? point(`${service} asks ${name}`, send) : send()),
    answering: (name) => {
      if (gate?.isOpen === true) point(`${service} answers ${name}`);
    },
  });
  return startCrashShop({ databaseUrls, instruments, isDeliveryRefused: course === "undone" });
}

async function doBusiness(scene: Scene, shop: CrashShop): Promise<void> {
  const orderId = await placeOrder(scene, shop);
  if (course !== "canceled") return;
  const path = `/orders/${orderId}/cancel`;
  await clientOf(shop).send({ ...postBy(shop, "cancel-1"), path, body: {} });
  await waitForRest(scene.databaseUrls);
}

async function placeOrder(scene: Scene, shop: CrashShop): Promise<string> {
  const flow = course === "undone" ? "one-phase" : "two-phase";
  const body = {
    items: [{ productId: "p-1", quantity: 2, unitPrice: 500 }],
    currency: "GBP",
    payment: { method: "CARD", token: "tok_visa", flow },
  };
  const call = { ...postBy(shop, "order-1"), path: "/orders", body };
  const { orderId } = await clientOf(shop).ask(call, acceptedOrderSchema);
  await waitForRest(scene.databaseUrls);
  return orderId;
}

function postBy({ gatewayUrl: url }: CrashShop, key: string): Omit<ShopCall, "path"> {
  return { url, method: "POST", as: ada, key };
}

function clientOf({ gatewayUrl }: CrashShop): ShopClient {
  return createShopClient({ gatewayUrl, patienceMs: 60_000 });
}
