// pg-boss with batches, which is how it is fast.
import { readFileSync } from "node:fs";
import { PgBoss } from "pg-boss";

const version = JSON.parse(readFileSync("node_modules/pg-boss/package.json", "utf8")).version;
const tasks = Number(process.env.TASKS);
const boss = new PgBoss({
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  database: process.env.PGDATABASE,
  max: 20,
});
await boss.start();
await boss.createQueue("noop");
let done = 0;
for (let worker = 0; worker < 8; worker += 1) {
  await boss.work("noop", { batchSize: 500, pollingIntervalSeconds: 0.5 }, async (jobs) => {
    done += jobs.length;
  });
}
const pad = "x".repeat(80);
const half = async (part) => {
  for (let n = part * 500; n < tasks; n += 1000) {
    const size = Math.min(500, tasks - n);
    await boss.insert("noop", Array.from({ length: size }, (_, i) => ({ data: { n: n + i, pad } })));
  }
};
const started = performance.now();
await Promise.all([half(0), half(1)]);
while (done < tasks) await new Promise((wake) => setTimeout(wake, 2));
const per_s = tasks / ((performance.now() - started) / 1000);
console.log(JSON.stringify({ version, per_s }));
process.exit(0);
