"""Owns the score that chooses the best weights: BLEU of the validation split, decoded freely and greedily."""

from dataclasses import dataclass

from accelerate import Accelerator
from sacrebleu.metrics.bleu import BLEU

from ..data.languages import tokeniser_for
from ..data.tokenizer import Tokenizer
from ..seq2seq.decoding import translate_all
from ..seq2seq.model import Seq2Seq
from ..seq2seq.translator import Translator


@dataclass(frozen=True)
class Validation:
    """The validation split as text, and how to translate it."""

    sources: list[str]
    references: list[str]
    target_language: str
    tokenizer: Tokenizer
    accelerator: Accelerator

    def bleu(self, model: Seq2Seq) -> float:
        """Corpus BLEU, 0 to 100, the same in every process and on any number of them."""
        translations = translate_all(Translator(model, self.tokenizer), self.sources, self.accelerator, beam_size=1)
        hypotheses = [translation.text for translation in translations]
        return float(
            BLEU(tokenize=tokeniser_for(self.target_language)).corpus_score(hypotheses, [self.references]).score
        )
