"""The translator: attention, network, loss, search, and translation of text. Begin with model.py."""
