"""Translate the sentence $TEXT and show where the model looked: MODEL_DIRECTORY OUTPUT_DIRECTORY.

Writes a picture (PNG) and an interactive page (HTML). The same sentence gives the same names, and replaces the files.

Shapes: S source pieces, T target pieces.
"""

import hashlib
import os
import re
import sys
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.text import normal_form
from pipeline.experiments.catalogue import settings_files
from pipeline.plumbing.artifacts import experiment_option, open_artifact, read_json
from pipeline.plumbing.command import TARGETS, fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.registry.limits import CHARACTERS, PIECES
from pipeline.scoring.attention_page import Side, attention_page
from pipeline.scoring.pictures import draw_heat_map
from pipeline.seq2seq.translator import DESCRIPTION, Translator

SLUG_CHARACTERS = 40  # of a sentence in the name of its files


def attention() -> None:
    directory, output = map(Path, sys.argv[1:3])
    experiment = directory.parent.name
    sentence = read_sentence(experiment)
    model = open_artifact(directory, TARGETS[directory.name])
    translator = Translator.load(directory)
    if (pieces := len(translator.tokenizer.encode_source([sentence])[0]) - 1) > PIECES:
        raise UserError(f"TEXT: got {pieces:,} pieces after tokenising, expected at most {PIECES}; type a part of it")
    (translation,) = translator.translate([sentence])
    if translation.attention is None:
        raise UserError(_no_attention(directory, experiment))
    description = read_json(model.path(DESCRIPTION))
    source = Side(sentence, description["source_language"], translation.source_tokens)
    target = Side(translation.text, description["target_language"], translation.tokens)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print(translation.text)
    for path in write_files(output, translation.attention, source, target):
        print(f"attention: wrote {path}")


def read_sentence(experiment: str) -> str:
    """Return $TEXT in normal form. UserError unless it is one sentence of at most CHARACTERS characters in UTF-8."""
    expected = f'expected one sentence; type: make attention{experiment_option(experiment)} TEXT="..."'
    if "TEXT" not in os.environ:
        raise UserError(f"TEXT: got none, {expected}")
    try:
        text = os.environb[b"TEXT"].decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"TEXT is not UTF-8: {error}") from None
    if (lines := text.count("\n") + 1) > 1:
        raise UserError(f"TEXT: got {lines} lines, {expected} for each of them")
    if not (sentence := normal_form(text)):
        raise UserError(f"TEXT: got an empty one, {expected}")
    if len(sentence) > CHARACTERS:
        raise UserError(f"TEXT: got {len(sentence):,} characters, expected at most {CHARACTERS:,}; type a part of it")
    return sentence


def _no_attention(directory: Path, experiment: str) -> str:
    settings = settings_files(Path(), experiment)[-1]
    return (
        f"{directory} was trained with model.attention: none, so there is no attention to show; set model.attention: "
        f"general (or another score) in {settings} and run: make train{experiment_option(experiment)}"
    )


def write_files(output: Path, weights: NDArray[np.float32], source: Side, target: Side) -> tuple[Path, Path]:
    """Write the picture and the page of attention weights (T, S) into `output`, and return their paths.

    Each file appears in one rename.
    """
    name = file_name(source.text)
    # `make gc` removes directories with such names if their process is dead.
    with tempfile.TemporaryDirectory(prefix=f"{output.name}.", suffix=".tmp", dir=output.parent) as scratch:
        picture, page = Path(scratch) / f"{name}.png", Path(scratch) / f"{name}.html"
        draw_heat_map(picture, weights, source.pieces, target.pieces, title=source.text)
        page.write_text(attention_page(weights, source, target), encoding="utf-8")
        output.mkdir(exist_ok=True)
        return picture.replace(output / picture.name), page.replace(output / page.name)


def file_name(sentence: str) -> str:
    """Return a name without a suffix: the beginning of the sentence in ASCII, and a digest of the whole sentence."""
    letters = unicodedata.normalize("NFKD", sentence).encode("ascii", errors="ignore").decode().lower()
    slug = re.sub("[^a-z0-9]+", "-", letters)[:SLUG_CHARACTERS].strip("-")
    digest = hashlib.sha256(sentence.encode()).hexdigest()[:8]
    return f"{slug}-{digest}" if slug else digest


if __name__ == "__main__":
    fail_clearly(attention)
