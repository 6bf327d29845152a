/** A session that the server ends in the breath in which it began is an error of the caller, and does not end the process (law X3). */
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import pg from "pg";
import { expect, it } from "vitest";
import { takeClient } from "../../src/postgres/pool.ts";

/** A message of PostgreSQL's protocol: its letter, its length, its body. */
function message(letter: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(letter);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
}

const greetingAndEnd = Buffer.concat([
  message("R", Buffer.alloc(4)),
  message("Z", Buffer.from("I")),
  message("E", Buffer.from("SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0")),
]);

it("is heard by the library, though greeting and end arrive together", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {}); // the client may be gone first
    socket.once("data", () => void socket.end(greetingAndEnd));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // it listens on a port
  const pool = new pg.Pool({ host: "127.0.0.1", port, user: "x", database: "x" });
  pool.on("error", () => {}); // for clients that lie idle
  try {
    const { client, release } = await takeClient(pool);
    await expect(client.query("select 1")).rejects.toThrow();
    release(true);
  } finally {
    await pool.end();
    server.close();
  }
});
