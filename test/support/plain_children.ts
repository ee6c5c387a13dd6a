/**
 * Loaded into every test file before it. tap passes the recorder of its coverage on to all processes that a test starts,
 * by NODE_OPTIONS: a loader thread in each, which doubles what the start of a process costs. Without coverage it records
 * nothing of use.
 */
if (process.env['TAP_DISABLE_COVERAGE'] === '1') delete process.env['NODE_OPTIONS'];
