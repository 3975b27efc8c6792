"""procrastinate with many tasks at once in one worker; it has no batches for what is done."""
import asyncio
import importlib.metadata
import json
import os
import time

import procrastinate

tasks = int(os.environ["TASKS"])
app = procrastinate.App(connector=procrastinate.PsycopgConnector(min_size=4, max_size=20))
done = 0


@app.task(name="noop")
async def noop(n, pad):
    global done
    done += 1


async def half(part):
    for n in range(part * 500, tasks, 1000):
        batch = [{"n": i, "pad": "x" * 80} for i in range(n, min(n + 500, tasks))]
        await noop.batch_defer_async(*batch)


async def main():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=100, install_signal_handlers=False, delete_jobs="always")
        )
        await asyncio.sleep(1)
        started = time.perf_counter()
        await asyncio.gather(half(0), half(1))
        while done < tasks:
            await asyncio.sleep(0.002)
        per_s = tasks / (time.perf_counter() - started)
        print(json.dumps({"version": importlib.metadata.version("procrastinate"), "per_s": per_s}), flush=True)
        worker.cancel()


asyncio.run(main())
