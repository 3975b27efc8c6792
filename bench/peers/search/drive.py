"""Drives one engine over one corpus and prints one line of JSON for each way of asking it.

    python drive.py <peer> --rows-folder DIR --questions-folder DIR --rows N --questions N --core N --folder DIR

A peer is a module of this folder with a class `Peer(corpus, folder)` that has `version` and

    load()   takes the rows in          build()  makes the indexes and what makes asking fast
    ways()   yields (kind, name, ask)   close()  stops what it started

where kind is vector, lexical or hybrid, and ask(text, vector) returns the ten best row numbers.
Everything stays on one core. The one who starts this counts percentiles and recall.
"""
import argparse
import importlib
import json
import os
import pathlib
import time

import numpy

DIMENSION = 384
TOP = 10
# Asked before the clock counts, so that what is measured is warm.
WARM = 50
# A slow way of asking is cut short after this, but not below so many questions.
SECONDS, FEWEST = 30, 100


class Corpus:
    """Rows and questions in the files that quire-bench made."""

    def __init__(self, rows_folder, questions_folder, rows, questions):
        self.rows = rows
        self.rows_folder = pathlib.Path(rows_folder)
        texts = self.lines(pathlib.Path(questions_folder) / "questions.jsonl", questions)
        vectors = numpy.fromfile(
            pathlib.Path(questions_folder) / "questions.f32", dtype="<f4", count=questions * DIMENSION
        )
        self.questions = list(zip((text["text"] for text in texts), vectors.reshape(-1, DIMENSION)))

    def vectors(self):
        """rows × DIMENSION, read anew, so that who has stored them can let go of them."""
        path = self.rows_folder / "vectors.f32"
        return numpy.fromfile(path, dtype="<f4", count=self.rows * DIMENSION).reshape(-1, DIMENSION)

    def texts(self):
        for text in self.lines(self.rows_folder / "texts.jsonl", self.rows):
            yield text["title"] + "\n" + text["text"]

    @staticmethod
    def lines(path, most):
        with open(path, encoding="utf-8") as file:
            for _, line in zip(range(most), file):
                yield json.loads(line)


def batches(items, size):
    """(first row number, items) in lists of `size`."""
    batch, first = [], 0
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield first, batch
            first += size
            batch = []
    if batch:
        yield first, batch


def memory(roots):
    """PSS in KiB of the processes and all that descend from them."""
    children, total, left = {}, 0, list(roots)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry))
            except OSError:
                continue
    while left:
        pid = left.pop()
        left += children.get(pid, [])
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except OSError:
            continue
    return total


def blocks(folder):
    """Bytes that the files really take."""
    files = (path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return sum(file.stat().st_blocks * 512 for file in files)


def measure(ask, questions):
    for text, vector in questions[:WARM]:
        ask(text, vector)
    took, found, began = [], [], time.perf_counter()
    for text, vector in questions:
        start = time.perf_counter()
        rows = ask(text, vector)
        took.append((time.perf_counter() - start) * 1e3)
        found.append([int(row) for row in rows])
        if time.perf_counter() - began > SECONDS and len(took) >= FEWEST:
            break
    return {"took_ms": took, "found": found}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("--rows-folder", required=True)
    parser.add_argument("--questions-folder", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--questions", type=int, required=True)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--folder", required=True)
    arguments = parser.parse_args()
    # Before a library counts the cores to start threads.
    os.sched_setaffinity(0, {arguments.core})
    corpus = Corpus(arguments.rows_folder, arguments.questions_folder, arguments.rows, arguments.questions)
    module = importlib.import_module(arguments.peer)
    before = memory([os.getpid()])
    peer = module.Peer(corpus, pathlib.Path(arguments.folder))
    try:
        start = time.perf_counter()
        peer.load()
        loaded = time.perf_counter()
        peer.build()
        built = time.perf_counter()
        for kind, name, ask in peer.ways():
            outcome = measure(ask, corpus.questions)
            outcome |= {
                "kind": kind,
                "name": name,
                "version": peer.version,
                "load_s": loaded - start,
                "build_s": built - loaded,
                "disk_bytes": getattr(peer, "disk_bytes", lambda: blocks(arguments.folder))(),
                "memory_mib": (memory([os.getpid()]) - before) / 1024,
            }
            print(json.dumps(outcome), flush=True)
    finally:
        peer.close()


if __name__ == "__main__":
    main()
