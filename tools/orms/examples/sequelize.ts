// Sequelize: the event is written in the transaction, and commits or rolls back with the row.
import { fromSequelize } from "dure/transaction";
import { DataTypes, Sequelize } from "sequelize";
import { openShop, OrderPlaced } from "./shop.ts";

const { url, dure, show, close } = await openShop();
const sequelize = new Sequelize(url, { logging: false });
const Orders = sequelize.define(
  "order",
  { id: { type: DataTypes.TEXT, primaryKey: true }, amount: DataTypes.INTEGER },
  { tableName: "orders", timestamps: false },
);

await show((order, refusal) =>
  sequelize.transaction(async (transaction) => {
    await Orders.create({ ...order }, { transaction });
    await dure.outbox.emit(fromSequelize(transaction), OrderPlaced.of(order));
    if (refusal !== undefined) throw new Error(refusal);
  }),
);

// @ts-expect-error The sequelize is no transaction: the compiler says so, and so does the library.
const refuse = (): unknown => fromSequelize(sequelize);
void refuse;

await sequelize.close();
await close();
