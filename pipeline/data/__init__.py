"""The corpus: sources, cleaning, splits, tokenizer, token ids. Begin with corpus.py."""
