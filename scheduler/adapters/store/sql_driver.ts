/**
 * The seam between the store and its database: one statement at a time, each a transaction of its own, so that it works
 * behind a pooler that gives a connection for one transaction only, and on an embedded database that is one session.
 * Values come and go as text in PostgreSQL's own spelling, so that both databases give the same.
 */
export type SqlRow = Readonly<Record<string, string | null>>;

export interface SqlOptions {
  /** Longest the statement may take; the driver's own limit when absent. */
  readonly timeoutMs?: number;
  /**
   * Doing it twice is as good as once: it is tried again when the connection breaks. Statements that the database
   * aborted for the sake of others (serialisation failure, deadlock) are tried again in any case.
   */
  readonly repeatable: boolean;
}

export interface SqlDriver {
  /** @throws CodedError one of the store_ codes */
  query(sql: string, params: readonly string[], options: SqlOptions): Promise<readonly SqlRow[]>;
  close(): Promise<void>;
}
