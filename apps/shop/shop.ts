// `npm run shop`: the shop as `npm start` has it, or with --distributed as processes of their own.
import { runShop } from "./runtime/run-shop.ts";
import { readShopCommand, shopUsage } from "./runtime/shop-command.ts";

const args = process.argv.slice(2);
process.exit(await runShop(() => readShopCommand(args), shopUsage));
