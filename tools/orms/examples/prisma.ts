// Prisma: the event is written in its interactive transaction, and commits or rolls back with the row.
import { PrismaPg } from "@prisma/adapter-pg";
import { fromPrisma } from "dure/transaction";
import { PrismaClient } from "../dist/prisma/client.ts";
import { openShop, OrderPlaced } from "./shop.ts";

const { url, dure, show, close } = await openShop();
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) });

await show((order, refusal) =>
  prisma.$transaction(async (tx) => {
    await tx.order.create({ data: order });
    await dure.outbox.emit(fromPrisma(tx), OrderPlaced.of(order));
    if (refusal !== undefined) throw new Error(refusal);
  }),
);

// @ts-expect-error The client is no transaction: the compiler says so, and so does the library.
const refuse = (): unknown => fromPrisma(prisma);
void refuse;

await prisma.$disconnect();
await close();
