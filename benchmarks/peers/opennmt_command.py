"""Run a command of OpenNMT-py 3.5 with a current torch, in its own environment: train|translate OPTIONS...

torch.load gets back the default that OpenNMT-py was written for. Two libraries that only transforms need which are not
used here are replaced by empty modules.
"""

import functools
import importlib
import sys
import types

import torch

for unused in ("fasttext", "spacy"):
    sys.modules[unused] = types.ModuleType(unused)
torch.load = functools.partial(torch.load, weights_only=False)

if __name__ == "__main__":
    importlib.import_module(f"onmt.bin.{sys.argv.pop(1)}").main()
