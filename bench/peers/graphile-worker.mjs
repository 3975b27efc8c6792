// graphile-worker as its own performance page runs it: a local queue and batches for what is done.
import { readFileSync } from "node:fs";
import pg from "pg";
import { makeWorkerUtils, run, runMigrations } from "graphile-worker";

const version = JSON.parse(readFileSync("node_modules/graphile-worker/package.json", "utf8")).version;
const tasks = Number(process.env.TASKS);
const pgPool = new pg.Pool({ max: 20 });
let done = 0;
const preset = {
  worker: {
    concurrentJobs: 24,
    localQueue: { size: 500, refetchDelay: undefined },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
};
await runMigrations({ pgPool });
const runner = await run({
  pgPool,
  preset,
  noHandleSignals: true,
  logger: undefined,
  taskList: { noop: () => { done += 1; } },
});
const utils = await makeWorkerUtils({ pgPool });
const pad = "x".repeat(80);
const half = async (part) => {
  for (let n = part * 500; n < tasks; n += 1000) {
    const size = Math.min(500, tasks - n);
    await utils.addJobs(
      Array.from({ length: size }, (_, i) => ({ identifier: "noop", payload: { n: n + i, pad } })),
    );
  }
};
const started = performance.now();
await Promise.all([half(0), half(1)]);
while (done < tasks) await new Promise((wake) => setTimeout(wake, 2));
for (;;) {
  const { rows } = await pgPool.query("select count(*)::int as left from graphile_worker._private_jobs");
  if (rows[0].left === 0) break;
}
const per_s = tasks / ((performance.now() - started) / 1000);
console.log(JSON.stringify({ version, per_s }));
await runner.stop();
process.exit(0);
