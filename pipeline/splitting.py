"""Owns which pair stands in which split, so that no sentence of a test set was seen in training. Knows no sources, no rules.

Two sentences count as the same where their keys are equal, that is but for case, punctuation, digits, placeholders and
white space.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable

from .cleaning import PLACEHOLDER, WORD, Pair
from .errors import UserError

LEAK_WORDS = 3  # a target of fewer words ("Settings") may stand on both sides: it is no sentence


def key(text: str) -> str:
    """The sentence's words in lower case: equal for a sentence and its trivial variants."""
    return " ".join(WORD.findall(PLACEHOLDER.sub(" ", text).casefold())) or text


def without_duplicates(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs without those whose source and target both stood earlier."""
    return list({(pair.source, pair.target): pair for pair in reversed(list(pairs))}.values())[::-1]


def cut(pairs: list[Pair], sizes: dict[str, int], seed: int) -> dict[str, list[Pair]]:
    """Cut held-out splits of `sizes` from `pairs`; what is left is `train`.

    Sentences with the same key go together. A held-out split has one pair a key, so that no sentence counts twice in a
    score. Which keys are held out depends on the seed and the keys, not on the pairs' order.
    """
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[key(pair.source)].append(pair)
    if len(groups) <= sum(sizes.values()):
        wanted = " + ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(
            f"the corpus has {len(groups)} different source sentences after cleaning, which leaves none to train on "
            f"({wanted}); bring more text, or lower download.validation_pairs and download.test_pairs"
        )
    shuffled = iter(sorted(groups, key=lambda text: hashlib.sha256(f"{seed} {text}".encode()).digest()))
    held_out = {name: [groups[next(shuffled)][0] for _ in range(size)] for name, size in sizes.items()}
    return {"train": [pair for text in shuffled for pair in groups[text]], **held_out}


def without_leaks(splits: dict[str, list[Pair]]) -> tuple[dict[str, list[Pair]], Counter[str]]:
    """The splits without those training pairs of which a held-out split has the source or the target, and their number."""
    held_out = [pair for name, pairs in splits.items() if name != "train" for pair in pairs]
    sources = {key(pair.source) for pair in held_out}
    targets = {text for pair in held_out if len((text := key(pair.target)).split()) >= LEAK_WORDS}
    train, dropped = [], Counter({"source_leak": 0, "target_leak": 0})
    for pair in splits["train"]:
        if key(pair.source) in sources:
            dropped["source_leak"] += 1
        elif key(pair.target) in targets:
            dropped["target_leak"] += 1
        else:
            train.append(pair)
    return {**splits, "train": train}, dropped
