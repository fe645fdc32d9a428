"""Make the corpus: read sources, clean pairs, split them, train the tokenizer, encode. Begin with corpus.py."""
