"""usearch: a plain HNSW of f16 in memory, as a library. Vectors only."""
import importlib.metadata

import numpy
from usearch.index import Index

from drive import DIMENSION, TOP


class Peer:
    version = importlib.metadata.version("usearch")

    def __init__(self, corpus, folder):
        self.corpus, self.folder = corpus, folder
        self.index = Index(ndim=DIMENSION, metric="ip", dtype="f16", connectivity=16, expansion_add=128)

    def load(self):
        self.vectors = self.corpus.vectors()

    def build(self):
        self.index.add(numpy.arange(self.corpus.rows), self.vectors, threads=1)
        del self.vectors
        self.index.save(self.folder / "index.usearch")

    def ways(self):
        for expansion in (64, 128, 256, 512):
            self.index.expansion_search = expansion
            yield "vector", f"HNSW f16, M 16, efC 128, ef {expansion}", self.vector

    def vector(self, _, vector):
        return self.index.search(vector, TOP, threads=1).keys

    def close(self):
        pass
