"""Write the folder that other programs load: graphs, tokenizer, settings, a reference decoder and how to use them."""

import shutil
from pathlib import Path

from ..data.tokenizer import JOINT, SOURCE, TARGET, model_files
from ..plumbing.artifacts import Artifact, read_json, write_json
from ..seq2seq.translator import BEAM_SIZE, DESCRIPTION, LENGTH_PENALTY, Translator
from .graphs import write_graphs

HERE = Path(__file__).resolve().parent
COPIED = ("translate.py", "README.md")  # the same for every model


def write_folder(model: Artifact, translator: Translator, directory: Path) -> float:
    """Write the folder to `directory`. Return the largest difference in a log-probability (see graphs.py)."""
    difference = write_graphs(translator.model, directory)
    tokenizers = model_files(model.directory)
    for file in [*tokenizers, *(HERE / name for name in COPIED)]:
        shutil.copyfile(file, directory / file.name)
    is_joint = [file.name for file in tokenizers] == [JOINT]
    description = read_json(model.path(DESCRIPTION))
    config = {
        "source_language": description["source_language"],
        "target_language": description["target_language"],
        "source_tokenizer": JOINT if is_joint else SOURCE,
        "target_tokenizer": JOINT if is_joint else TARGET,
        "beam_size": BEAM_SIZE,
        "length_penalty": LENGTH_PENALTY,
    }
    write_json(directory / "config.json", config)
    return difference
