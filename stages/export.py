"""Write a published model as a folder that other programs load without this project: MODEL_DIRECTORY OUTPUT."""

import sys
from pathlib import Path

import torch

from pipeline.export.folder import write_folder
from pipeline.plumbing.artifacts import open_artifact, publish
from pipeline.plumbing.command import TARGETS, fail_clearly
from pipeline.plumbing.lock import hold
from pipeline.seq2seq.translator import Translator


def export() -> None:
    directory, output = map(Path, sys.argv[1:3])
    with hold(output.parent, "export"):
        model = open_artifact(directory, TARGETS[directory.name])
        translator = Translator.load(model.directory, torch.device("cpu"))
        with publish(output, {"model": model}, stamp={}) as draft:
            difference = write_folder(model, translator, draft.directory)
    print(f"export: no log-probability of the graphs differs from the model's by more than {difference:.1g}")
    print(f"export: {output} is whole. How to use it: {output}/README.md")


if __name__ == "__main__":
    fail_clearly(export)
