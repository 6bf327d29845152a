import type { ServiceName } from "../../apps/shop/chassis/config.ts";
import { seededRandom } from "../../apps/shop/replay/statistics.ts";
import { linkNames } from "./links.ts";
import type { LinkName } from "./links.ts";

/** What carries the events in a run. */
export const brokerKinds = ["postgres", "kafka", "redis"] as const;
export type BrokerKind = (typeof brokerKinds)[number];

/** What can go wrong. */
export type Fault =
  | { readonly kind: "kill" | "freeze"; readonly service: ServiceName; readonly pick: number }
  | { readonly kind: "stop-database" | "crash-database" }
  | { readonly kind: "kill-broker" | "freeze-broker" | "cut-off-broker" }
  | { readonly kind: "end-sessions"; readonly share: number }
  | { readonly kind: "delay"; readonly link: LinkName; readonly latencyMs: number }
  | { readonly kind: "cut" | "abandon" | "refuse"; readonly link: LinkName }
  | {
      readonly kind: "silence";
      readonly link: LinkName;
      readonly direction: "both" | "toClient" | "toServer";
    };

/** One thing that goes wrong, and when; counted from the begin of the trouble. */
export interface Disturbance {
  readonly atMs: number;
  /** Until it is healed. 0: it happens, and the shop heals itself. */
  readonly durationMs: number;
  readonly fault: Fault;
}

/** What {@link scheduleOf} makes a schedule of. */
export interface ScheduleOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly broker: BrokerKind;
}

/** Disturbances one after the other. Two lanes run side by side, so that trouble meets trouble. */
export type Lane = readonly Disturbance[];

type Random = () => number;
type Range = readonly [min: number, max: number];

interface FaultKind {
  readonly make: (random: Random) => Fault;
  readonly durationMs: Range;
  /** What the shop gets to come back: on two cores a service takes some seconds to start. */
  readonly pauseMs: Range;
}

/** Those that die: the provider is the world outside, and may die as well. */
const mortals: readonly ServiceName[] = [
  "order",
  "payment",
  "inventory",
  "delivery",
  "order",
  "payment",
  "notification",
  "gateway",
  "provider",
];
/** Longer than a lease, which is 5 s. */
const freezeMs: Range = [6_000, 12_000];
const outageMs: Range = [3_000, 60_000];
/** One outage takes no more of a run than that. */
const outageShareMax = 0.3;

/** A seed decides everything: what, whom, when and for how long. */
export function scheduleOf(options: ScheduleOptions): readonly Lane[] {
  const random = seededRandom(options.seed);
  return [
    fillLane(serverFaults(options.broker), { ...options, random, firstAtMs: 3_000 }),
    fillLane(linkFaults, { ...options, random, firstAtMs: 6_000 }),
  ];
}

/** What hits processes and servers. */
function serverFaults(broker: BrokerKind): readonly FaultKind[] {
  const victim = (kind: "kill" | "freeze") => (random: Random) =>
    ({ kind, service: pickOf(mortals, random), pick: Math.floor(random() * 8) }) as const;
  const kill: FaultKind = { make: victim("kill"), durationMs: [0, 0], pauseMs: [8_000, 14_000] };
  const broken = { durationMs: outageMs, pauseMs: [6_000, 12_000] } as const;
  const brokerFaults: readonly FaultKind[] =
    broker === "postgres"
      ? [{ make: () => ({ kind: "cut-off-broker" }), ...broken }]
      : [
          { make: () => ({ kind: "kill-broker" }), ...broken },
          { make: () => ({ kind: "freeze-broker" }), ...broken },
        ];
  return [
    kill,
    { make: victim("freeze"), durationMs: freezeMs, pauseMs: [4_000, 8_000] },
    { ...kill },
    {
      make: () => ({ kind: "stop-database" }),
      durationMs: [500, 8_000],
      pauseMs: [6_000, 12_000],
    },
    ...brokerFaults,
    {
      make: () => ({ kind: "crash-database" }),
      durationMs: [0, 4_000],
      pauseMs: [6_000, 12_000],
    },
  ];
}

/** What hits the network between them. */
const linkFaults: readonly FaultKind[] = [
  {
    make: (random) => ({ kind: "end-sessions", share: 0.2 + 0.8 * random() }),
    durationMs: [0, 0],
    pauseMs: [3_000, 6_000],
  },
  {
    make: (random) => ({
      kind: "delay",
      link: pickOf(linkNames, random),
      latencyMs: Math.round(20 + 380 * random()),
    }),
    durationMs: [3_000, 10_000],
    pauseMs: [2_000, 5_000],
  },
  {
    make: (random) => ({ kind: "cut", link: pickOf(linkNames, random) }),
    durationMs: [0, 0],
    pauseMs: [2_000, 5_000],
  },
  {
    make: (random) => ({
      kind: "silence",
      link: pickOf(linkNames, random),
      direction: pickOf(["both", "toClient", "toServer"] as const, random),
    }),
    durationMs: [3_000, 15_000],
    pauseMs: [3_000, 6_000],
  },
  {
    make: (random) => ({ kind: "refuse", link: pickOf(linkNames, random) }),
    durationMs: [2_000, 10_000],
    pauseMs: [3_000, 6_000],
  },
  {
    make: (random) => ({ kind: "abandon", link: pickOf(linkNames, random) }),
    durationMs: [0, 0],
    pauseMs: [3_000, 6_000],
  },
];

interface LaneOptions extends ScheduleOptions {
  readonly random: Random;
  readonly firstAtMs: number;
}

/** Draws from a bag that is filled again when it is empty, so that no kind is left out for long. */
function fillLane(kinds: readonly FaultKind[], options: LaneOptions): Lane {
  const { random, durationMs: wholeMs, firstAtMs } = options;
  const lane: Disturbance[] = [];
  let bag: FaultKind[] = [];
  for (let atMs = firstAtMs; atMs < wholeMs;) {
    if (bag.length === 0) bag = [...kinds];
    const [kind] = bag.splice(Math.floor(random() * bag.length), 1);
    if (kind === undefined) break;
    const fault = kind.make(random);
    const drawn = Math.round(between(kind.durationMs, random));
    const pauseMs = Math.round(between(kind.pauseMs, random));
    const durationMs = Math.min(drawn, Math.max(freezeMs[0], Math.round(wholeMs * outageShareMax)));
    if (atMs + durationMs > wholeMs) break;
    lane.push({ atMs, durationMs, fault });
    atMs += durationMs + pauseMs;
  }
  return lane;
}

/** A fault in a few words, the same in the schedule and in the log. */
export function describeFault(fault: Fault): string {
  switch (fault.kind) {
    case "kill":
    case "freeze":
      return `${fault.kind} ${fault.service}`;
    case "end-sessions":
      return `end ${Math.round(fault.share * 100)} % of the database sessions`;
    case "delay":
      return `delay ${fault.link} by ${fault.latencyMs} ms`;
    case "silence":
      return `silence ${fault.link} (${fault.direction})`;
    case "cut":
    case "abandon":
    case "refuse":
      return `${fault.kind} ${fault.link}`;
    case "stop-database":
    case "crash-database":
    case "kill-broker":
    case "freeze-broker":
    case "cut-off-broker":
      return fault.kind.replaceAll("-", " ");
  }
}

function between([min, max]: Range, random: Random): number {
  return min + (max - min) * random();
}

function pickOf<Item>(items: readonly Item[], random: Random): Item {
  return items[Math.floor(random() * items.length)] as Item; // the index is within
}
