/** Where the command line writes to: whole lines. */
export interface CliOutput {
  readonly out: (text: string) => void;
  readonly error: (text: string) => void;
  /** Stacks are shown. */
  readonly isDebugging: boolean;
}
