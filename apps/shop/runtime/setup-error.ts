/** Something that the person who started the shop can put right; shown without a stack trace. */
export class SetupError extends Error {
  override readonly name = "SetupError";
}

/** A command line that makes no sense; shown together with the options that there are. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
