import { describe, expect, test } from "vitest";
import { readSaleLine } from "./sale-line.ts";
import type { CsvRecord } from "./sale-line.ts";

function record(line: string): CsvRecord {
  const [InvoiceNo, StockCode, Description, Quantity, , UnitPrice, CustomerID] = line.split(",");
  return { InvoiceNo, StockCode, Description, Quantity, UnitPrice, CustomerID } as CsvRecord;
}

describe("lines as the real file has them", () => {
  test("a sale keeps product, quantity and the price in pence", () => {
    const line =
      "536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER ,6,12/1/10 8:26,2.55,17850,United Kingdom";
    expect(readSaleLine(record(line))).toEqual({
      kind: "sale",
      line: {
        productId: "85123A",
        productName: "WHITE HANGING HEART T-LIGHT HOLDER",
        quantity: 6,
        unitPrice: 255,
        isRounded: false,
      },
    });
  });

  test.each([
    ["price 0", "536414,22139,,56,12/1/10 11:52,0,,United Kingdom"],
    [
      "negative quantity on an ordinary invoice",
      "536589,21777,,-10,12/1/10 16:50,0,,United Kingdom",
    ],
    ["adjustment invoice", "A563186,B,Adjust bad debt,1,8/12/11 14:51,-11062.06,,United Kingdom"],
    ["negative price", "563186,B,Adjust bad debt,1,8/12/11 14:51,-11062.06,,United Kingdom"],
    ["price 0", "550193,PADS,PADS TO MATCH ALL CUSHIONS,1,4/15/11 9:27,0.001,13952,United Kingdom"],
    ["quantity 0", "536365,85123A,HEART,0,12/1/10 8:26,2.55,17850,United Kingdom"],
    ["unreadable", "536365,85123A,HEART,six,12/1/10 8:26,2.55,17850,United Kingdom"],
    ["unreadable", "536365,85123A,HEART,1.5,12/1/10 8:26,2.55,17850,United Kingdom"],
    ["unreadable", '536365,85123A,HEART,6,12/1/10 8:26,"2;55",17850,United Kingdom'],
    ["unreadable", "536365,,HEART,6,12/1/10 8:26,2.55,17850,United Kingdom"],
    ["more than the shop takes", "536365,85123A,HEART,1000001,12/1/10 8:26,2.55,17850,UK"],
  ])("%s: %s", (reason, line) => {
    expect(readSaleLine(record(line))).toEqual({ kind: "rejected", reason });
  });

  test("a line of a cancellation invoice brings pieces back; its price is noted if it is one", () => {
    const line = "C536379,D,Discount,-1,12/1/10 9:41,27.5,14527,United Kingdom";
    const read = { productId: "D", quantity: 1, unitPrice: 2750 };
    expect(readSaleLine(record(line))).toEqual({ kind: "return", line: read });
    const free = "C536757,84347,ROTATING ANGELS,-9360,12/2/10 14:23,0,15838,United Kingdom";
    const noted = { productId: "84347", quantity: 9360 };
    expect(readSaleLine(record(free))).toEqual({ kind: "return", line: noted });
  });

  test.each([
    ["positive quantity on a cancellation invoice", "C536379,D,Discount,1,12/1/10 9:41,27.5,1,UK"],
    ["quantity 0", "C536379,D,Discount,0,12/1/10 9:41,27.5,1,UK"],
    ["unreadable", "C536379,,Discount,-1,12/1/10 9:41,27.5,1,UK"],
    ["more than the shop takes", "C536379,D,Discount,-1000001,12/1/10 9:41,27.5,1,UK"],
  ])("of a cancellation invoice, %s: %s", (reason, line) => {
    expect(readSaleLine(record(line))).toEqual({ kind: "rejected", reason });
  });
});

test("names lose what the shop would refuse", () => {
  const read = readSaleLine(record("536365,\t85123A,RED\tTEAPOT\u0000 ,6,,2.55,17850"));
  expect(read).toMatchObject({ line: { productId: "85123A", productName: "RED TEAPOT" } });
});
