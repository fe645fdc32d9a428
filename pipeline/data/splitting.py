"""Assign pairs to splits, so that training sees no sentence of a held-out split (validation or test).

Two sentences count as the same if their keys are equal: if they differ only in case, punctuation, digits, placeholders
and white space.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from ..plumbing.errors import UserError
from .cleaning import PLACEHOLDER, Pair
from .languages import count_words, words_only

LEAK_WORDS = 3  # a target with fewer words ("Settings") is no leak, because it is too common


def key(text: str) -> str:
    """Return the sentence's words in lower case. A sentence and its trivial variants have the same key."""
    return words_only(PLACEHOLDER.sub(" ", text)) or text


def without_duplicates(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs without repetitions. A pair repeats another if both source and target are equal."""
    first: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        first.setdefault((pair.source, pair.target), pair)
    return list(first.values())


def cut(pairs: list[Pair], sizes: dict[str, int], seed: int) -> dict[str, list[Pair]]:
    """Cut held-out splits of the given sizes from `pairs`; the rest is `train`.

    Sources with the same key go to the same split. A held-out split keeps one pair for each key, so that no sentence
    counts twice in a score. The choice depends on the seed and the keys, not on the order of the pairs.
    """
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[key(pair.source)].append(pair)
    if len(groups) <= sum(sizes.values()):
        wanted = " + ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(
            f"the corpus has {len(groups)} different source sentences after cleaning, too few for the held-out splits "
            f"({wanted}) and training; use a larger corpus, or lower download.validation_pairs and download.test_pairs"
        )
    shuffled = iter(sorted(groups, key=lambda text: hashlib.sha256(f"{seed} {text}".encode()).digest()))
    held_out = {name: [groups[next(shuffled)][0] for _ in range(size)] for name, size in sizes.items()}
    return {"train": [pair for text in shuffled for pair in groups[text]], **held_out}


def without_leaks(splits: dict[str, list[Pair]], max_similarity: float) -> tuple[dict[str, list[Pair]], Counter[str]]:
    """Remove training pairs that leak a held-out sentence; return the splits and the number of leaks of each kind.

    A training pair leaks if a held-out split has the same source or the same target, compared by their keys. If
    `max_similarity` is below 1, a pair also leaks if its source is more similar than that to a held-out source.
    """
    held_out = [pair for name, pairs in splits.items() if name != "train" for pair in pairs]
    sources = {key(pair.source) for pair in held_out}
    targets = {text for pair in held_out if count_words(text := key(pair.target)) >= LEAK_WORDS}
    leaks: dict[str, Callable[[Pair], bool]] = {
        "source_leak": lambda pair: key(pair.source) in sources,
        "target_leak": lambda pair: key(pair.target) in targets,
    }
    train = splits["train"]
    dropped: Counter[str] = Counter()
    for name, is_leak in leaks.items():
        kept = [pair for pair in train if not is_leak(pair)]
        dropped[name] = len(train) - len(kept)
        train = kept
    if max_similarity < 1 and train and held_out:
        from .similarity import highest_similarities  # slow to import

        similarities = highest_similarities([key(pair.source) for pair in train], sorted(sources))
        kept = [pair for pair, value in zip(train, similarities, strict=True) if value <= max_similarity]
        dropped["similar_leak"] = len(train) - len(kept)
        train = kept
    return {**splits, "train": train}, dropped
