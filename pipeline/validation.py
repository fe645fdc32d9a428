"""Owns the score that chooses the best weights: BLEU of the validation split, decoded freely and greedily."""

from dataclasses import dataclass

from accelerate import Accelerator
from accelerate.utils import gather_object
from sacrebleu.metrics.bleu import BLEU

from .metrics import tokeniser_for
from .model import Seq2Seq
from .tokenizer import Tokenizer
from .translator import Translator


@dataclass(frozen=True)
class Validation:
    """The validation split as text, and how to translate it."""

    sources: list[str]
    references: list[str]
    target_language: str
    tokenizer: Tokenizer
    accelerator: Accelerator

    def bleu(self, model: Seq2Seq) -> float:
        """Corpus BLEU, 0 to 100, the same in every process; each translates every W-th sentence."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        rows = range(rank, len(self.sources), processes)
        translations = Translator(model, self.tokenizer).translate([self.sources[i] for i in rows], beam_size=1)
        mine = [(row, translation.text) for row, translation in zip(rows, translations, strict=True)]
        hypotheses = [text for _, text in sorted(gather_object(mine))]
        return float(
            BLEU(tokenize=tokeniser_for(self.target_language)).corpus_score(hypotheses, [self.references]).score
        )
