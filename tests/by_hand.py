"""BLEU and chrF as their papers define them, computed by counting. Scores are tested against these."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np


def bleu_by_hand(pairs: Sequence[tuple[str, str]]) -> float:
    """Return BLEU of Papineni et al. 2002. The words are separated by white space, and the full stop is a word."""
    matches, totals = [0.0] * 4, [0.0] * 4
    lengths = [0, 0]
    for text, reference in pairs:
        words = [side.replace(".", " .").split() for side in (text, reference)]
        lengths = [length + len(side) for length, side in zip(lengths, words, strict=True)]
        for n in range(1, 5):
            seen, known = (Counter(tuple(side[i : i + n]) for i in range(len(side) - n + 1)) for side in words)
            matches[n - 1] += sum((seen & known).values())
            totals[n - 1] += sum(seen.values())
    assert all(matches)  # no smoothing is needed
    brevity = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * brevity * math.exp(sum(math.log(m / t) for m, t in zip(matches, totals, strict=True)) / 4)


def chrf_by_hand(pairs: Sequence[tuple[str, str]]) -> float:
    """Return chrF of Popović 2015 with beta 2: precision and recall of 1 to 6 characters, averaged, then combined."""
    precisions, recalls = [], []
    for n in range(1, 7):
        counts = np.zeros(3)
        for pair in pairs:
            characters = ["".join(side.split()) for side in pair]
            seen, known = (Counter(side[i : i + n] for i in range(len(side) - n + 1)) for side in characters)
            counts += [sum((seen & known).values()), sum(seen.values()), sum(known.values())]
        precisions.append(counts[0] / counts[1])
        recalls.append(counts[0] / counts[2])
    precision, recall = np.mean(precisions), np.mean(recalls)
    return float(100 * 5 * precision * recall / (4 * precision + recall))
