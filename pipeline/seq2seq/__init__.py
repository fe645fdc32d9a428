"""The model and its use: attention, network, loss, beam search, translation of text. Begin with model.py."""
