"""Assign pairs to splits, so that training sees no sentence of a held-out split (validation or test).

Two sentences count as the same if their keys are equal: if they differ only in case, punctuation, digits, placeholders
and white space.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from ..plumbing.errors import UserError
from .characters import Texts, in_batches, table_of
from .cleaning import Pair, without_placeholders
from .languages import UNSPACED_LETTER, count_words, words_only

LEAK_WORDS = 3  # a target with fewer words ("Settings") is no leak, because it is too common


def keys(texts: Sequence[str]) -> list[str]:
    """Return the words of each sentence in lower case. A sentence and its trivial variants have the same key."""
    found: list[str] = []
    for batch in in_batches(map(without_placeholders, texts), len):
        plain = Texts(batch)
        joined = [" ".join(words) for words in plain.words]
        for row in np.flatnonzero(plain.has(table_of(UNSPACED_LETTER))).tolist():
            joined[row] = words_only(plain.texts[row])
        found += joined
    return [key or text for key, text in zip(found, texts, strict=True)]


def source_keys(pairs: Sequence[Pair]) -> list[str]:
    """Return the key of each source."""
    return keys([pair.source for pair in pairs])


def target_keys(pairs: Sequence[Pair]) -> list[str]:
    """Return the key of each target."""
    return keys([pair.target for pair in pairs])


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
    for key, pair in zip(source_keys(pairs), pairs, strict=True):
        groups[key].append(pair)
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
    if not held_out:
        return splits, Counter()
    sources = set(source_keys(held_out))
    targets = {key for key in target_keys(held_out) if count_words(key) >= LEAK_WORDS}
    train = list(zip(splits["train"], source_keys(splits["train"]), strict=True))
    dropped: Counter[str] = Counter()

    def drop(rule: str, leaks: Iterable[bool]) -> None:
        nonlocal train
        kept = [keyed for keyed, is_leak in zip(train, leaks, strict=True) if not is_leak]
        dropped[rule] = len(train) - len(kept)
        train = kept

    drop("source_leak", [key in sources for _, key in train])
    drop("target_leak", [key in targets for key in target_keys([pair for pair, _ in train])])
    if max_similarity < 1 and train:
        from .similarity import highest_similarities  # slow to import

        similarities = highest_similarities([key for _, key in train], sorted(sources))
        drop("similar_leak", (value > max_similarity for value in similarities))
    return {**splits, "train": [pair for pair, _ in train]}, dropped
