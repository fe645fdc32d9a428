"""Score a model on the validation split: compute its loss by teacher forcing, and its BLEU by greedy decoding."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from sacrebleu.metrics.bleu import BLEU

from ..data.encoding import EncodedSplit
from ..data.languages import tokeniser_for
from ..data.tokenizer import Tokenizer
from ..processes import sum_over_processes
from ..seq2seq.decoding import translate_all
from ..seq2seq.model import Seq2Seq
from ..seq2seq.translator import Translator
from .batching import collate
from .plan import plan_in_order

ATTENDED = 5  # the attention of every fifth micro-batch is measured


@dataclass(frozen=True)
class Validation:
    """The validation split, as token ids and as text.

    Both scores are the same in every process, and on any number of processes.
    """

    encoded: EncodedSplit
    sources: list[str]
    references: list[str]
    target_language: str
    tokenizer: Tokenizer
    micro_batch_tokens: int
    accelerator: Accelerator

    @torch.no_grad()
    def loss(self, model: Seq2Seq) -> float:
        """Return the cross-entropy in nats for each target token, by teacher forcing."""
        accelerator = self.accelerator
        plan = plan_in_order(self.encoded, self.micro_batch_tokens)
        total = torch.zeros((), dtype=torch.float64, device=accelerator.device)
        for rows in plan[accelerator.process_index :: accelerator.num_processes]:
            batch = collate(self.encoded, rows).to(accelerator.device)
            total += model(batch.source, batch.lengths, batch.target, batch.real)
        return float(sum_over_processes(accelerator, total)) / int(self.encoded.target.lengths.sum())

    @torch.no_grad()
    def attention_entropy(self, model: Seq2Seq) -> float:
        """Return the entropy of the attention in nats, the mean over the target tokens of some validation pairs.

        It is 0 if each target token attends to a single source token.
        """
        accelerator = self.accelerator
        plan = plan_in_order(self.encoded, self.micro_batch_tokens)[::ATTENDED]
        sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
        for rows in plan[accelerator.process_index :: accelerator.num_processes]:
            batch = collate(self.encoded, rows).to(accelerator.device)
            weights = model.attend(batch.source, batch.lengths, batch.target).flatten(0, 1)[batch.real]
            sums += torch.stack([torch.special.entr(weights).sum().double(), weights.sum().double()])
        entropy, tokens = sum_over_processes(accelerator, sums).tolist()
        return float(entropy / tokens)

    def bleu(self, model: Seq2Seq) -> float:
        """Return corpus BLEU, 0 to 100, of greedy translations."""
        translations = translate_all(Translator(model, self.tokenizer), self.sources, self.accelerator, beam_size=1)
        hypotheses = [translation.text for translation in translations]
        metric = BLEU(tokenize=tokeniser_for(self.target_language))
        return float(metric.corpus_score(hypotheses, [self.references]).score)
