"""Chroma in process: one collection, its HNSW. It has no hybrid search of its own outside its cloud."""
import importlib.metadata

import chromadb
from chromadb.config import Settings

from drive import TOP, batches


class Peer:
    version = importlib.metadata.version("chromadb")

    def __init__(self, corpus, folder):
        self.corpus = corpus
        self.client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))

    def load(self):
        self.passages = self.client.create_collection(
            "passages",
            embedding_function=None,
            configuration={"hnsw": {"space": "ip", "ef_construction": 128, "max_neighbors": 16,
                                    "ef_search": 128, "num_threads": 1}},
        )
        vectors = self.corpus.vectors()
        for first, texts in batches(self.corpus.texts(), 2_000):
            rows = range(first, first + len(texts))
            self.passages.add(ids=[str(row) for row in rows], documents=texts,
                              embeddings=vectors[first:first + len(texts)])

    def build(self):
        pass

    def ways(self):
        yield "vector", "HNSW M 16, efC 128, ef 128", self.vector

    def vector(self, _, vector):
        found = self.passages.query(query_embeddings=[vector], n_results=TOP, include=[])
        return [int(row) for row in found["ids"][0]]

    def close(self):
        pass
