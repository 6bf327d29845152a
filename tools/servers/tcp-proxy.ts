import { connect, createServer, type Server, type Socket } from "node:net";

/** A proxy between a client and a server whose network a test can spoil. */
export interface TcpProxy {
  readonly host: string;
  readonly port: number;
  /** The target's URL with host and port replaced by the proxy's. */
  readonly url: string;
  connectionCount(): number;
  /** Delays every byte in both directions by this time; 0 is no delay. Order is kept. */
  setLatency(latencyMs: number): void;
  /** Resets every connection now; new ones work. */
  cut(): void;
  /** Refuses new connections (they are reset at once) and resets the present ones, until `resume`. */
  refuse(): void;
  /**
   * Passes no byte and closes nothing, as after a pulled cable, until `resume`, when what was held
   * arrives late, as TCP's retransmissions would. New connections are accepted and stay silent.
   */
  blackHole(direction?: "both" | "toClient" | "toServer"): void;
  /**
   * Passes no byte over the present connections any more, for ever and without a word, as when an address
   * moves to another computer. New connections work.
   */
  abandon(): void;
  resume(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

type Direction = "toClient" | "toServer";

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  readonly pumps: readonly Pump[];
}

/** Starts a proxy on a free loopback port to the server of this URL . */
export async function tcpProxy(target: string): Promise<TcpProxy> {
  const url = new URL(target);
  const state: ProxyState = { latencyMs: 0, isRefusing: false, held: new Set(), pairs: new Set() };
  const address = { host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) };
  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    if (state.isRefusing) client.resetAndDestroy();
    else carry(client, connect({ ...address, allowHalfOpen: true, noDelay: true }), state);
  });
  const port = await listen(listener);
  url.hostname = "127.0.0.1";
  url.port = String(port);
  const { pairs, held } = state;
  const reset = () => {
    for (const { client, server, pumps } of pairs) {
      for (const pump of pumps) pump.stop();
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
    pairs.clear();
  };
  return {
    host: "127.0.0.1",
    port,
    url: url.href,
    connectionCount: () => pairs.size,
    setLatency: (value) => {
      state.latencyMs = value;
    },
    cut: reset,
    refuse: () => {
      state.isRefusing = true;
      reset();
    },
    blackHole: (direction = "both") => {
      held.clear();
      for (const way of ["toClient", "toServer"] as const) {
        if (direction === "both" || direction === way) held.add(way);
      }
    },
    abandon: () => {
      for (const { pumps } of pairs) for (const pump of pumps) pump.abandon();
    },
    resume: () => {
      state.isRefusing = false;
      held.clear();
      for (const { pumps } of pairs) for (const pump of pumps) pump.flush();
    },
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      reset();
      await closed;
    },
  };
}

/** How the network is at the moment. */
interface ProxyState {
  latencyMs: number;
  isRefusing: boolean;
  readonly held: Set<Direction>;
  readonly pairs: Set<Pair>;
}

/** Carries bytes between the two until both have closed, or one has failed. */
function carry(client: Socket, server: Socket, state: ProxyState): void {
  const pumps = [
    createPump(client, server, "toServer", state),
    createPump(server, client, "toClient", state),
  ];
  const pair = { client, server, pumps };
  state.pairs.add(pair);
  const end = () => {
    state.pairs.delete(pair);
    for (const pump of pumps) pump.stop();
    client.destroy();
    server.destroy();
  };
  for (const socket of [client, server]) socket.on("error", end);
  let openCount = 2;
  const onClose = () => {
    openCount -= 1;
    if (openCount === 0) end();
  };
  client.on("close", onClose);
  server.on("close", onClose);
}

interface Pump {
  flush(): void;
  abandon(): void;
  stop(): void;
}

/** Carries bytes one way: first in a queue with the time each is due, then out while not held. */
function createPump(from: Socket, to: Socket, direction: Direction, state: ProxyState): Pump {
  const queue: { readonly bytes: Buffer | undefined; readonly dueAt: number }[] = [];
  let timer: NodeJS.Timeout | undefined;
  let isAbandoned = false;
  const flush = () => {
    clearTimeout(timer);
    while (!state.held.has(direction)) {
      const next = queue[0];
      if (next === undefined) return;
      const waitMs = next.dueAt - performance.now();
      if (waitMs > 0) {
        timer = setTimeout(flush, waitMs);
        return;
      }
      queue.shift();
      if (next.bytes === undefined) to.end();
      else if (to.writable) to.write(next.bytes);
    }
  };
  const push = (bytes: Buffer | undefined) => {
    if (isAbandoned) return;
    // Not before what was queued earlier, also when the latency has just become smaller.
    const dueAt = Math.max(performance.now() + state.latencyMs, queue.at(-1)?.dueAt ?? 0);
    queue.push({ bytes, dueAt });
    flush();
  };
  from.on("data", push);
  from.on("end", () => push(undefined));
  const stop = () => {
    clearTimeout(timer);
    queue.length = 0;
  };
  return {
    flush,
    abandon: () => {
      isAbandoned = true;
      stop();
    },
    stop,
  };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0 }, resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return address.port;
}
