"""Compute the score that a well-known notebook reports for its translator, to show how little it says.

The notebook belongs to the textbook of the member `book`. It predicts each word after the words of the reference,
leaves dropout on, and takes the mean of a BLEU over letters.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .forcing import Counts, batches, teacher_forced
from .members import Family, Member

ORDER = 4  # longest n-grams


@dataclass(frozen=True)
class NotebookScore:
    """The score, from 0 to 1."""

    own: float  # of the model's predictions
    unrelated: float  # of the references, each compared with that of the next sentence


@torch.no_grad()
def notebook_score(family: Family, member: Member) -> NotebookScore:
    """Score a member as the notebook does."""
    references, model = family.sentences[1], member.model
    counts = Counts(len(references))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model.train()
            for rows, source, lengths, target in batches(family, member):
                counts.add(rows, teacher_forced(model, source, lengths, target), target)
    finally:
        model.eval()
    texts = counts.texts(member.translator.tokenizer)
    return NotebookScore(_mean(texts, references), _mean(references[1:] + references[:1], references))


def letter_bleu(hypothesis: str, reference: str) -> float:
    """Return the BLEU of a sentence over its letters and spaces, 0 to 1, with method 1 of Chen and Cherry 2014.

    A precision of 0 counts as 0.1 matching n-grams; without a common letter the score is 0. NLTK computes the same.
    """
    logarithms = []
    for n in range(1, ORDER + 1):
        own, wanted = (Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (hypothesis, reference))
        matches = (own & wanted).total()
        if n == 1 and not matches:
            return 0.0
        logarithms.append(math.log((matches or 0.1) / max(1, own.total())))
    brevity = min(0.0, 1 - len(reference) / len(hypothesis))
    return math.exp(brevity + sum(logarithms) / ORDER)


def _mean(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    return sum(map(letter_bleu, hypotheses, references)) / len(references)
