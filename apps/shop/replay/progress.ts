/** A line about what is going on, rewritten on a terminal and repeated now and then elsewhere. */
export interface Progress {
  show(text: string): void;
  /** Ends the line, so that other output can follow. */
  end(): void;
}

const terminalEveryMs = 100;
const elsewhereEveryMs = 2000;

/** @param stream where people look */
export function createProgress(stream: NodeJS.WriteStream): Progress {
  const everyMs = stream.isTTY ? terminalEveryMs : elsewhereEveryMs;
  let shownAt = Number.NEGATIVE_INFINITY;
  let pending = "";
  let shown = "";
  const write = (text: string): void => {
    pending = "";
    shown = text;
    shownAt = performance.now();
    // Carriage return, text, and "erase to the end of the line".
    stream.write(stream.isTTY ? `\r${text.slice(0, stream.columns - 1)}\u001b[K` : `${text}\n`);
  };
  return {
    show(text) {
      if (text === shown) return;
      pending = text;
      if (performance.now() - shownAt >= everyMs) write(text);
    },
    end() {
      if (pending !== "") write(pending);
      if (stream.isTTY) stream.write("\n");
    },
  };
}
