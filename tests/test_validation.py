"""The loss and BLEU of the validation split, compared with the same numbers computed in the simplest way."""

from collections.abc import Callable

import pytest
import torch
from accelerate import Accelerator

from pipeline.data.encoding import EncodedSplit
from pipeline.seq2seq.translator import Translator
from pipeline.training.validation import Validation
from tests.by_hand import bleu_by_hand
from tests.test_translator import SENTENCES, build
from tests.toy_training import toy_split

pytestmark = pytest.mark.usefixtures("a_process_of_its_own")


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """Return an untrained translator that writes only whole words, so that every tokeniser splits its output alike."""
    translator = build(tmp_path_factory.mktemp("model"))
    pieces = translator.tokenizer.target_pieces(list(range(len(translator.tokenizer.target))))
    with torch.no_grad():
        for i, piece in enumerate(pieces):
            if not (piece.startswith("▁") and piece[1:].isalpha()):
                translator.model.output.bias[i] = -100
    return translator


def validation_of(
    translator: Translator,
    references: list[str],
    target_language: str = "qaa",
    data: EncodedSplit | None = None,
    micro_batch_tokens: int = 50,
) -> Validation:
    data = data or toy_split(4, 1)
    accelerator = Accelerator(cpu=True)
    return Validation(
        data, SENTENCES[:20], references, target_language, translator.tokenizer, micro_batch_tokens, accelerator
    )


def shorter(text: str) -> str:
    words = text.split()
    return " ".join(words[: 2 * len(words) // 3])


def longer(text: str) -> str:
    return f"{text} {shorter(text)}"


@pytest.mark.parametrize("change", [shorter, longer])
def test_bleu_compares_greedy_translations_with_the_references(
    translator: Translator, change: Callable[[str], str]
) -> None:
    """The references are shorter or longer than the translations, so that exchanging the two changes the score."""
    hypotheses = [t.text for t in translator.translate(SENTENCES[:20], beam_size=1)]
    references = [change(text) for text in hypotheses]
    pairs = list(zip(hypotheses, references, strict=True))
    expected = bleu_by_hand(pairs)
    assert abs(expected - bleu_by_hand([(reference, text) for text, reference in pairs])) > 1
    validation = validation_of(translator, references)
    assert validation.bleu(translator.model) == pytest.approx(expected, abs=1e-9)
    assert validation.bleu(translator.model) != pytest.approx(100)


def test_perfect_translations_score_100(translator: Translator) -> None:
    references = [t.text for t in translator.translate(SENTENCES[:20], beam_size=1)]
    validation = validation_of(translator, references)
    assert validation.bleu(translator.model) == pytest.approx(100)


def test_the_target_language_chooses_the_tokeniser(translator: Translator) -> None:
    references = [shorter(t.text) for t in translator.translate(SENTENCES[:20], beam_size=1)]
    words, characters = (validation_of(translator, references, code).bleu(translator.model) for code in ("de", "th"))
    assert characters != pytest.approx(words)


@pytest.mark.parametrize("micro_batch_tokens", [1, 30, 10_000])
def test_the_loss_is_a_mean_over_target_tokens_whatever_the_micro_batches(
    translator: Translator, micro_batch_tokens: int
) -> None:
    data = toy_split(30, 1)
    total = 0.0
    for row in range(len(data)):
        source, target = (torch.tensor(side.sentence(row))[None].long() for side in (data.source, data.target))
        lengths, real = torch.tensor([source.shape[1]]), torch.arange(target.shape[1])
        total += translator.model(source, lengths, target, real).item()
    validation = validation_of(translator, [], data=data, micro_batch_tokens=micro_batch_tokens)
    expected = total / int(data.target.lengths.sum())
    assert validation.loss(translator.model) == pytest.approx(expected, rel=1e-5)
