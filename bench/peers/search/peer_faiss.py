"""faiss as a library: exact, and rotated RaBitQ with fast scan whose best 100 are scored again."""
import importlib.metadata

import faiss

from drive import DIMENSION, TOP

RESCORED = 100


class Peer:
    version = importlib.metadata.version("faiss-cpu")

    def __init__(self, corpus, folder):
        faiss.omp_set_num_threads(1)
        self.corpus, self.folder = corpus, folder

    def load(self):
        self.vectors = self.corpus.vectors()

    def build(self):
        self.flat = faiss.IndexFlatIP(DIMENSION)
        self.flat.add(self.vectors)
        # Plain RaBitQ of faiss does not rotate; RR does.
        self.codes = faiss.index_factory(DIMENSION, "RR384,RaBitQfs", faiss.METRIC_INNER_PRODUCT)
        self.codes.train(self.vectors)
        self.codes.add(self.vectors)
        self.refined = faiss.IndexRefine(self.codes, self.flat)
        self.refined.k_factor = RESCORED / TOP
        del self.vectors
        faiss.write_index(self.codes, str(self.folder / "codes"))
        faiss.write_index(self.flat, str(self.folder / "flat"))

    def ways(self):
        yield "vector", f"RR384,RaBitQfs + {RESCORED}", self.vector
        yield "vector", "flat, exact f32", lambda _, vector: self.flat.search(vector[None], TOP)[1][0]

    def vector(self, _, vector):
        return self.refined.search(vector[None], TOP)[1][0]

    def close(self):
        pass
