"""From where pairs come to token ids: sources, cleaning, splits, tokenizer, encoding. Begin with corpus.py."""
