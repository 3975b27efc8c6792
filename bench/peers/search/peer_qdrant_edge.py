"""Qdrant Edge in process: HNSW, BM25 as its sparse vectors, its hybrid query with RRF."""
import importlib.metadata

from qdrant_edge import (
    Bm25, Bm25Config, Distance, EdgeConfig, EdgeOptimizersConfig, EdgeShard, EdgeSparseVectorParams,
    EdgeVectorParams, Fusion, HnswIndexConfig, Modifier, Point, Prefetch, Query, QueryRequest, SearchParams,
    UpdateOperation,
)

from drive import DIMENSION, TOP, batches


class Peer:
    version = importlib.metadata.version("qdrant-edge-py")

    def __init__(self, corpus, folder):
        self.corpus = corpus
        # Passages of some 110 words; without common words about 70 are indexed.
        self.words = Bm25(Bm25Config(avg_len=70.0, language="english"))
        self.shard = EdgeShard.create(str(folder / "shard"), EdgeConfig(
            vectors={"dense": EdgeVectorParams(size=DIMENSION, distance=Distance.Dot)},
            sparse_vectors={"words": EdgeSparseVectorParams(modifier=Modifier.Idf)},
            hnsw_config=HnswIndexConfig(m=16, ef_construct=128, full_scan_threshold=1_000, max_indexing_threads=1),
            # One segment, and an index from 1 MB on: the default is for many small shards.
            optimizers=EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1_000),
            max_search_threads=1,
            wal_enabled=False,
        ))

    def load(self):
        vectors = self.corpus.vectors()
        for first, texts in batches(self.corpus.texts(), 1_000):
            points = [
                Point(row, {"dense": vectors[row].tolist(), "words": self.words.embed_document(text)}, {"text": text})
                for row, text in enumerate(texts, first)
            ]
            self.shard.update(UpdateOperation.upsert_points(points))

    def build(self):
        while self.shard.optimize():
            pass
        self.shard.flush()

    def ways(self):
        for ef in (128, 256):
            yield "vector", f"HNSW m 16, efC 128, ef {ef}", self.vector(SearchParams(hnsw_ef=ef))
        yield "hybrid", "HNSW ef 128 + BM25, RRF", self.hybrid(SearchParams(hnsw_ef=128))

    def vector(self, tuned):
        def ask(_, vector):
            query = Query.Nearest(vector.tolist(), using="dense")
            return [point.id for point in self.shard.query(QueryRequest(limit=TOP, query=query, params=tuned))]
        return ask

    def hybrid(self, tuned):
        def ask(text, vector):
            paths = [
                Prefetch(limit=50, query=Query.Nearest(vector.tolist(), using="dense"), params=tuned),
                Prefetch(limit=50, query=Query.Nearest(self.words.embed_query(text), using="words")),
            ]
            found = self.shard.query(QueryRequest(limit=TOP, query=Fusion.Rrf(k=60), prefetches=paths))
            return [point.id for point in found]
        return ask

    def close(self):
        self.shard.close()
