"""What one builds by hand from the two fastest libraries: RaBitQ of faiss and BM25 of tantivy, fused by rank."""
import peer_faiss
import peer_tantivy
from drive import TOP

DEEP = 50


class Peer:
    version = f"{peer_faiss.Peer.version} + {peer_tantivy.Peer.version}"

    def __init__(self, corpus, folder):
        for part in ("vectors", "words"):
            (folder / part).mkdir()
        self.vectors = peer_faiss.Peer(corpus, folder / "vectors")
        self.words = peer_tantivy.Peer(corpus, folder / "words")

    def load(self):
        self.vectors.load()
        self.words.load()

    def build(self):
        self.vectors.build()
        self.words.build()
        # So that the best 50 are taken from the same 100 that are scored again.
        self.vectors.refined.k_factor = peer_faiss.RESCORED / DEEP

    def ways(self):
        yield "hybrid", "RaBitQ + BM25, RRF", self.hybrid

    def hybrid(self, text, vector):
        scores = {}
        for rows in (self.vectors.refined.search(vector[None], DEEP)[1][0].tolist(), self.words.best(text, DEEP)):
            for place, row in enumerate(rows):
                scores[row] = scores.get(row, 0.0) + 1 / (61 + place)
        return sorted(scores, key=scores.get, reverse=True)[:TOP]

    def close(self):
        pass
