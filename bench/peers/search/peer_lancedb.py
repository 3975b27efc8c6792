"""LanceDB in process: one table, flat or IVF_RQ vectors, its full text index, its hybrid search with RRF."""
import importlib.metadata
import os

# It would write a warning about the columns of the answer for every question.
os.environ.setdefault("LANCEDB_LOG", "error")

import lancedb
import lancedb.index
import pyarrow
from lancedb.rerankers import RRFReranker

from drive import DIMENSION, TOP, batches

# Below this an approximate index has no use: LanceDB's own advice is a flat scan.
INDEXED = 50_000


class Peer:
    version = importlib.metadata.version("lancedb")

    def __init__(self, corpus, folder):
        self.corpus = corpus
        self.db = lancedb.connect(folder)

    def load(self):
        schema = pyarrow.schema([
            ("id", pyarrow.int32()), ("text", pyarrow.string()),
            ("vector", pyarrow.list_(pyarrow.float32(), DIMENSION)),
        ])
        vectors = self.corpus.vectors()

        def parts():
            for first, texts in batches(self.corpus.texts(), 10_000):
                part = vectors[first:first + len(texts)]
                yield pyarrow.RecordBatch.from_arrays([
                    pyarrow.array(range(first, first + len(texts)), pyarrow.int32()),
                    pyarrow.array(texts),
                    pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(part.reshape(-1)), DIMENSION),
                ], schema=schema)

        self.table = self.db.create_table("passages", parts(), schema=schema)

    def build(self):
        self.table.create_fts_index("text", with_position=False)
        self.table.optimize()
        # Nothing says when the index serves; it does once it has no rows left to take in.
        self.table.wait_for_index(["text_idx"])

    def ways(self):
        yield "vector", "flat", self.vector
        yield "hybrid", "flat + FTS, RRF", self.hybrid
        if self.corpus.rows >= INDEXED:
            self.table.create_index(
                "vector", config=lancedb.index.IvfRq(distance_type="dot", num_bits=1)
            )
            self.table.wait_for_index(["vector_idx"])
            for probes, refine in ((20, 10), (50, 10)):
                tuned = f"IVF_RQ, {probes} probes, refine {refine}"
                yield "vector", tuned, lambda text, vector: self.vector(text, vector, probes, refine)
                yield "hybrid", f"{tuned} + FTS, RRF", lambda text, vector: self.hybrid(text, vector, probes, refine)

    def vector(self, _, vector, probes=None, refine=None):
        query = self.table.search(vector, query_type="vector").distance_type("dot")
        if probes:
            query = query.nprobes(probes).refine_factor(refine)
        return ids(query)

    def hybrid(self, text, vector, probes=None, refine=None):
        query = self.table.search(query_type="hybrid").vector(vector).text(plain(text))
        query = query.distance_type("dot").rerank(RRFReranker())
        if probes:
            query = query.nprobes(probes).refine_factor(refine)
        return ids(query)

    def close(self):
        pass


def plain(text):
    """Words only: quotes and signs mean something to the query language."""
    return " ".join("".join(c if c.isalnum() else " " for c in text).split())


def ids(query):
    return query.limit(TOP).select(["id"]).to_arrow()["id"].to_pylist()
