// `npm start`: the whole shop in one process, with a PostgreSQL of its own.
import { runShop } from "./runtime/run-shop.ts";
import { readStartCommand, startUsage } from "./runtime/shop-command.ts";

const args = process.argv.slice(2);
process.exit(await runShop(() => readStartCommand(args), startUsage));
