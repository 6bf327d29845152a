/** What a price on paper is in pence. */
export type ReadPrice =
  | { readonly kind: "price"; readonly pence: number; readonly isRounded: boolean }
  | { readonly kind: "unreadable" };

/**
 * Reads pounds as they are written, digit by digit: through a floating-point number 1.005 would
 * become 100. What is finer than a penny is rounded, a half away from zero.
 */
export function readPounds(text: string): ReadPrice {
  const match = /^(-?)(\d{1,10})(?:\.(\d{0,20}))?$/.exec(text.trim());
  if (match === null) return { kind: "unreadable" };
  const [, sign = "", pounds = "", decimals = ""] = match;
  const whole = Number(pounds) * 100 + Number(decimals.slice(0, 2).padEnd(2, "0"));
  const finer = decimals.slice(2);
  const pence = (finer.charAt(0) >= "5" ? whole + 1 : whole) * (sign === "-" ? -1 : 1);
  return { kind: "price", pence: pence === 0 ? 0 : pence, isRounded: /[1-9]/.test(finer) };
}

/** Pence as people read them: `1,234.50`. */
export function formatPence(pence: number): string {
  const digits = String(Math.abs(pence)).padStart(3, "0");
  const pounds = digits.slice(0, -2).replace(/\B(?=(\d{3})+$)/g, ",");
  return `${pence < 0 ? "-" : ""}${pounds}.${digits.slice(-2)}`;
}
