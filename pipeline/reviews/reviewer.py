"""Owns how a review is made: candidate and champion fetched and checked, tried side by side, compared and judged.

What is compared is `comparison`'s, what must hold is `gates`', where the verdict is kept is `review_runs`'.
"""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow.entities.model_registry import ModelVersion

from ..data.languages import standard_code
from ..plumbing.errors import UserError
from ..plumbing.params import ReviewSettings
from ..plumbing.tracking.record import git_commit
from ..registry.sandbox.isolation import isolation
from ..registry.sandbox.process import Misbehaviour
from ..registry.sandbox.sandboxed_model import SandboxedModel, SandboxedTranslation, load_sandboxed
from ..registry.versions import package_digest
from ..scoring.heatmaps import draw_heat_map
from ..scoring.metrics import Scorer
from .comparison import CANDIDATE, OPPONENT, Comparison, System, compare
from .gates import LOSSES, judge
from .leaks import find_leaks
from .measurement import Measurement, measure_models
from .registered_models import RegisteredModels
from .review import AttentionMap, Failure, Provenance, Review
from .review_runs import files_digest
from .test_sets import TestSet, read_test_sets
from .too_long import find_too_long
from .version_files import VersionFiles

MAPS = 3  # pictures of attention
MAP_PIECES = range(5, 21)  # of the source, for a picture neither dull nor crowded
MAP_ROWS, MAP_LETTERS = 60, 40  # of the translation, and of a piece: drawing what a candidate makes up may take minutes


@dataclass(frozen=True)
class Finding:
    """A review with what is kept beside it."""

    review: Review
    maps: Sequence[AttentionMap]
    candidate: ModelVersion
    champion: ModelVersion | None  # None: the opponent was the best baseline
    blank: Mapping[str, int]  # test set -> pairs left out, since a side of theirs has no text


@dataclass(frozen=True)
class Reviewer:
    """Reviews candidates against the champion."""

    models: RegisteredModels
    settings: ReviewSettings
    by: str

    def review(self, version: int | None, progress: Callable[[int], Callable[[int], object]]) -> Finding:
        """Review a version, the experiment's newest if none is named.

        `progress` is told how many sentences there are to translate, and returns what is told how many more are done.
        """
        candidate, champion = self._pair(version)
        with tempfile.TemporaryDirectory() as scratch, ExitStack() as processes:
            ours = VersionFiles(self.models.client, candidate, Path(scratch) / CANDIDATE)
            theirs = VersionFiles(self.models.client, champion, Path(scratch) / OPPONENT) if champion else None
            _check_languages(ours, theirs)
            evaluation = theirs.evaluation if theirs else None
            test_sets = read_test_sets(ours.evaluation, evaluation, self.settings, ours.languages)
            trained_on = {CANDIDATE: ours.training_sentences}
            if theirs:
                trained_on[OPPONENT] = theirs.training_sentences
            leaks, kept = find_leaks(test_sets, trained_on)
            models: dict[str, SandboxedModel] = {}
            for name, files in ((CANDIDATE, ours), (OPPONENT, theirs)):
                if files:
                    models[name] = processes.enter_context(load_sandboxed(files.package, files.name))
            sources = {test_set.name: test_set.sources for test_set in test_sets}
            advance = progress(len(models) * sum(map(len, sources.values())))
            maps: list[AttentionMap] = []
            failure: Failure | None = None
            try:
                measurements = measure_models(models, sources, advance)
                maps = _draw_maps(models[CANDIDATE], test_sets[0], Path(scratch))
            except Misbehaviour as error:
                if error.name != ours.name:
                    raise
                measurements, failure = {}, Failure(error.reason, error.said)
            too_long = find_too_long(measurements)
            for name, lines in too_long.left_out.items():
                kept[name] = [place for place in kept[name] if place + 1 not in lines]
            comparisons = (
                self._compare(test_sets, kept, measurements, theirs, ours.languages[1]) if measurements else []
            )
            system = _subject(ours, measurements.get(CANDIDATE))
            opponent = _subject(theirs, measurements.get(OPPONENT)) if theirs else _baseline(ours, comparisons)
            gates = judge(self.settings.gates, comparisons, system, opponent, leaks)
            review = Review(system, opponent, comparisons, gates, leaks, self._provenance(test_sets), failure, too_long)
        blank = {test_set.name: test_set.blank for test_set in test_sets}
        return Finding(review, maps, candidate, champion, blank)

    def _pair(self, number: int | None) -> tuple[ModelVersion, ModelVersion | None]:
        """Return the candidate and the champion; UserError if they cannot be compared."""
        state = self.models.history.state()
        candidate, champion = self.models.candidate(number), self.models.champion(state)
        if champion and self.models.is_champion(candidate, state):
            raise UserError(
                f"version {candidate.version} of {candidate.name} is the champion itself; "
                f"{self.models.first_step(state)}"
            )
        package_digest(candidate, self.models.experiment)
        return candidate, champion

    def _compare(
        self,
        test_sets: Sequence[TestSet],
        kept: Mapping[str, Sequence[int]],
        measurements: Mapping[str, Measurement],
        champion: VersionFiles | None,
        language: str,
    ) -> list[Comparison]:
        """Compare on the `kept` places of each test set; one without any is not compared."""
        gates = self.settings.gates.model_dump()
        levels = {metric: gates[name]["level"] for name, metric in LOSSES.items()}
        comparisons = []
        for test_set in test_sets:
            if not (places := kept[test_set.name]):
                continue
            opponent, texts = (
                (champion.name, measurements[OPPONENT].texts[test_set.name])
                if champion
                else _best_baseline(test_set, language)
            )
            columns = (test_set.sources, test_set.references, measurements[CANDIDATE].texts[test_set.name], texts)
            sources, references, candidate, theirs = ([column[place] for place in places] for column in columns)
            lines = [place + 1 for place in places]
            comparisons.append(
                compare(test_set.name, sources, references, candidate, opponent, theirs, language, levels, lines)
            )
        return comparisons

    def _provenance(self, test_sets: Sequence[TestSet]) -> Provenance:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        read = {test_set.name: test_set.digest for test_set in test_sets}
        settings = self.settings.model_dump(mode="json")
        origins = {test_set.name: test_set.origin for test_set in test_sets}
        return Provenance(now, self.by, settings, read, git_commit(), _hardware(), isolation(), origins)


def _check_languages(ours: VersionFiles, theirs: VersionFiles | None) -> None:
    if theirs and list(map(standard_code, ours.languages)) != list(map(standard_code, theirs.languages)):
        raise UserError(
            f"{ours.name} translates {' to '.join(ours.languages)}, but the champion, {theirs.name}, "
            f"{' to '.join(theirs.languages)}: they cannot be compared; give each pair a model of its own "
            "(register.model_name)"
        )


def _best_baseline(test_set: TestSet, language: str) -> tuple[str, Sequence[str]]:
    """The baseline with the most BLEU."""
    scorer = Scorer(test_set.sources, test_set.references, language)
    return max(test_set.baselines.items(), key=lambda item: scorer.score(item[1]).bleu)


def _subject(files: VersionFiles, measurement: Measurement | None) -> System:
    version, record = files.version, files.record
    source, target = files.languages
    return System(
        name=version.name,
        version=str(version.version),
        source_language=source,
        target_language=target,
        digests={"corpus": record.corpus, "model": record.model, "package files": files_digest(version)},
        commit=record.commit,
        parameters=files.model_facts.parameters,
        size_bytes=files.size_bytes,
        speed=measurement.speed if measurement else None,
        unknown_pieces=measurement.unknown_pieces if measurement else {},
    )


def _baseline(candidate: VersionFiles, comparisons: Sequence[Comparison]) -> System:
    """The baseline that was best, or those, where test sets differ in which."""
    source, target = candidate.languages
    names = " or ".join(dict.fromkeys(comparison.opponent for comparison in comparisons)) or "not chosen"
    return System(names, None, source, target, {}, None, None, None, None, {})


def _draw_maps(model: SandboxedModel, test_set: TestSet, directory: Path) -> list[AttentionMap]:
    """Pictures of the attention in a few sentences, the same at every review; none of a model without attention."""
    lines = np.random.default_rng(1).permutation(len(test_set.sources)) + 1
    maps: list[AttentionMap] = []
    for line in map(int, lines[: 20 * MAPS]):
        if len(maps) == MAPS:
            break
        (best,), _ = model.explain([test_set.sources[line - 1]], attention=True)
        if best and best.attention and _is_drawable(best):
            title, path = f"{test_set.name}, line {line}", directory / "map.png"
            attention = np.array(best.attention, dtype=np.float32)
            draw_heat_map(path, attention, best.source_tokens, best.tokens, title)
            maps.append(AttentionMap(title, path.read_bytes()))
    return maps


def _is_drawable(best: SandboxedTranslation) -> bool:
    """Whether a picture of it is small; the candidate says how many pieces there are, and how long."""
    longest = max(map(len, [*best.tokens, *best.source_tokens]), default=0)
    return len(best.source_tokens) - 1 in MAP_PIECES and len(best.tokens) <= MAP_ROWS and longest <= MAP_LETTERS


def _hardware() -> str:
    """The processor, and how many of it, in a line."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"
