"""tantivy: BM25 alone, one segment, English stems, no stop words, frequencies without positions."""
import importlib.metadata
import re

import tantivy

from drive import TOP

HEAP = 1 << 30


class Peer:
    version = importlib.metadata.version("tantivy")

    def __init__(self, corpus, folder):
        self.corpus = corpus
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("text", tokenizer_name="english", index_option="freq")
        self.index = tantivy.Index(schema.build(), path=str(folder))
        english = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        for step in (tantivy.Filter.lowercase(), tantivy.Filter.stopword("english"), tantivy.Filter.stemmer("english")):
            english = english.filter(step)
        self.index.register_tokenizer("english", english.build())

    def load(self):
        self.writer = self.index.writer(heap_size=HEAP, num_threads=1)
        for text in self.corpus.texts():
            self.writer.add_document(tantivy.Document(text=text))

    def build(self):
        self.writer.commit()
        self.writer.wait_merging_threads()
        self.index.reload()
        self.searcher = self.index.searcher()
        # Rows by the order in which they were added: one segment, one thread.
        if self.searcher.num_segments != 1:
            raise RuntimeError(f"{self.searcher.num_segments} segments, not one: raise HEAP")

    def ways(self):
        yield "lexical", "BM25, one segment", lambda text, _: self.best(text, TOP)

    def best(self, text, most):
        # What a word would be split at makes a phrase of it.
        words = " ".join(re.findall(r"[^\W_]+", text.lower()))
        query = self.index.parse_query(words, ["text"])
        # A row is its document number in the only segment, so no stored field has to be read.
        return [address.doc for _, address in self.searcher.search(query, most, count=False).hits]

    def close(self):
        pass
