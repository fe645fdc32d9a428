"""BLEU of the validation split, by free greedy decoding, against BLEU counted by hand."""

from collections.abc import Callable

import pytest
import torch
from accelerate import Accelerator

from pipeline.seq2seq.translator import Translator
from pipeline.training.validation import Validation
from tests.by_hand import bleu_by_hand
from tests.test_translator import SENTENCES, build

pytestmark = pytest.mark.usefixtures("a_process_of_its_own")


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """An untrained one that says whole words up to the limit, which 13a and counting by hand cut alike."""
    translator = build(tmp_path_factory.mktemp("model"))
    pieces = translator.tokenizer.target_pieces(list(range(len(translator.tokenizer.target))))
    with torch.no_grad():
        for i, piece in enumerate(pieces):
            if not (piece.startswith("▁") and piece[1:].isalpha()):
                translator.model.output.bias[i] = -100
    return translator


def shorter(text: str) -> str:
    words = text.split()
    return " ".join(words[: 2 * len(words) // 3])


def longer(text: str) -> str:
    return f"{text} {shorter(text)}"


@pytest.mark.parametrize("change", [shorter, longer])
def test_it_scores_greedy_translations_against_the_references(
    translator: Translator, change: Callable[[str], str]
) -> None:
    """References that are shorter than the translations, and longer: each taken for the other, they score otherwise."""
    sources = SENTENCES[:20]
    hypotheses = [t.text for t in translator.translate(sources, beam_size=1)]
    references = [change(text) for text in hypotheses]
    pairs = list(zip(hypotheses, references, strict=True))
    expected = bleu_by_hand(pairs)
    assert abs(expected - bleu_by_hand([(reference, text) for text, reference in pairs])) > 1
    validation = Validation(sources, references, "qaa", translator.tokenizer, Accelerator(cpu=True))
    assert validation.bleu(translator.model) == pytest.approx(expected, abs=1e-9)
    assert validation.bleu(translator.model) != pytest.approx(100)


def test_perfect_translations_score_100(translator: Translator) -> None:
    references = [t.text for t in translator.translate(SENTENCES[:20], beam_size=1)]
    validation = Validation(SENTENCES[:20], references, "qaa", translator.tokenizer, Accelerator(cpu=True))
    assert validation.bleu(translator.model) == pytest.approx(100)


def test_the_target_language_chooses_the_tokeniser(translator: Translator) -> None:
    references = [shorter(t.text) for t in translator.translate(SENTENCES[:20], beam_size=1)]
    words, characters = (
        Validation(SENTENCES[:20], references, code, translator.tokenizer, Accelerator(cpu=True)).bleu(translator.model)
        for code in ("de", "th")
    )
    assert characters != pytest.approx(words)
