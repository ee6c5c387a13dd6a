/** A command line that cannot be run; its message is one sentence for the user. */
export class UsageError extends Error {}
