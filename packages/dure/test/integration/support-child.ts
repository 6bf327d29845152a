/** Echoes its input as JSON, counts on its own, and ends with code 3 when told. */
import { createInterface } from "node:readline";

console.log("a plain line");
console.log(
  JSON.stringify({ event: "ready", args: process.argv.slice(2), extra: process.env["EXTRA"] }),
);
console.error("to stderr");
let count = 0;
setInterval(() => console.log(JSON.stringify({ count: (count += 1) })), 10);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "end") process.exit(3);
  console.log(JSON.stringify({ echo: line }));
}
