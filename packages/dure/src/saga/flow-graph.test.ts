/** The graph of a flow shows who answers whom, what turns it back, and what is then undone. */
import { describe, expect, it } from "vitest";
import { checkout } from "../../test/support/flows.ts";
import { flowGraph, flowMermaid } from "./flow-graph.ts";

describe("the graph", () => {
  it("has a place for each answer and each undoing, and is JSON", () => {
    const graph = flowGraph(checkout);
    expect(JSON.parse(JSON.stringify(graph))).toEqual(graph);
    expect(graph.nodes.map(({ id }) => id)).toEqual([
      "$start",
      "$turned",
      "$completed",
      "$compensated",
      "payment",
      "stock",
      "delivery",
      "payment/undone",
      "stock/undone",
    ]);
    expect(graph.edges.map(({ from, event, to }) => `${from} ${event} ${to}`)).toEqual([
      "$start order.created payment",
      "payment payment.completed stock",
      "stock stock.reserved delivery",
      "delivery delivery.started $completed",
      "payment payment.failed $turned",
      "stock stock.reservation-failed $turned",
      "delivery delivery.failed $turned",
      "$start order.cancel-requested $turned",
      "payment/undone payment.refunded $compensated",
      "stock/undone stock.released $compensated",
    ]);
  });

  it("is drawn", () => {
    expect(flowMermaid(checkout)).toBe(`flowchart TD
  node__start(["checkout-choreographed v1"])
  node__turned(["turned"])
  node__completed(["completed"])
  node__compensated(["compensated"])
  node_payment["payment<br/>payment, 60 s"]
  node_stock["stock<br/>inventory, 60 s"]
  node_delivery["delivery<br/>delivery, 120 s"]
  undo_payment("undo payment<br/>payment, 60 s")
  undo_stock("undo stock<br/>inventory, 60 s")
  node__start -->|"order.created"| node_payment
  node_payment -->|"payment.completed"| node_stock
  node_stock -->|"stock.reserved"| node_delivery
  node_delivery -->|"delivery.started"| node__completed
  node_payment -.->|"payment.failed"| node__turned
  node_stock -.->|"stock.reservation-failed"| node__turned
  node_delivery -.->|"delivery.failed"| node__turned
  node__start -.->|"order.cancel-requested"| node__turned
  undo_payment -.->|"payment.refunded"| node__compensated
  undo_stock -.->|"stock.released"| node__compensated
  node__turned -.-> undo_payment
  node__turned -.-> undo_stock
  classDef undo stroke-dasharray:5 5
  class undo_payment,undo_stock undo
`);
  });
});
