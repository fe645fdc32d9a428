"""Review a candidate: fetch it and the champion, translate the test sets with both, compare and judge the results.

The module `comparison` compares, `gates` judges, and `review_runs` keeps the result in MLflow.
"""

import os
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
from ..plumbing.made_with import processor
from ..plumbing.params import ReviewSettings
from ..plumbing.tracking.record import git_commit
from ..registry.card import write_short_card
from ..registry.sandbox.isolation import isolation
from ..registry.sandbox.process import Misbehaviour
from ..registry.sandbox.sandboxed_model import SandboxedModel, SandboxedTranslation, load_sandboxed
from ..registry.versions import package_digest
from ..scoring.metrics import Scorer
from ..scoring.pictures import draw_heat_map
from ..training.facts import ModelFacts
from .comparison import CANDIDATE, OPPONENT, Comparison, System, compare
from .gates import LOSSES, judge
from .leaks import find_leaks
from .measurement import Measurement, find_too_long, measure_models
from .registered_models import RegisteredModels
from .review import AttentionMap, Failure, Provenance, Review
from .review_runs import files_digest
from .test_sets import TestSet, read_test_sets
from .version_changes import find_version_changes
from .version_files import VersionFiles

MAPS = 3  # pictures of attention
MAP_PIECES = range(5, 21)  # pieces of a source sentence that is drawn; other pictures would be dull or crowded
# The most pieces of a translation in a picture, and the most letters of a piece. A candidate must not choose how long
# drawing takes.
MAP_ROWS, MAP_LETTERS = 60, 40


@dataclass(frozen=True)
class Finding:
    """A review with the facts that are recorded beside it."""

    review: Review
    maps: Sequence[AttentionMap]
    candidate: ModelVersion
    champion: ModelVersion | None  # None: the opponent was the best baseline
    blank: Mapping[str, int]  # test set -> pairs left out because one side has no text


@dataclass(frozen=True)
class Reviewer:
    """Compares candidates with the champion."""

    models: RegisteredModels
    settings: ReviewSettings
    by: str

    def review(self, version: int | None, progress: Callable[[int], Callable[[int], object]]) -> Finding:
        """Review a version; for None, the newest version of the experiment.

        `progress` is called with the number of sentences to translate. It returns a function that is called with the
        number of sentences translated since the last call.
        """
        candidate, champion = self._pair(version)
        client = self.models.client
        with tempfile.TemporaryDirectory() as scratch:
            files = {CANDIDATE: VersionFiles(client, candidate, Path(scratch) / CANDIDATE)}
            if champion:
                files[OPPONENT] = VersionFiles(client, champion, Path(scratch) / OPPONENT)
            _check_languages(files)
            for each in files.values():
                each.fetch_all()
            ours, theirs = files[CANDIDATE], files.get(OPPONENT)
            evaluation = theirs.evaluation if theirs else None
            test_sets = read_test_sets(ours.evaluation, evaluation, self.settings, ours.languages)
            review, maps = self._review(files, test_sets, progress)
        blank = {test_set.name: test_set.blank for test_set in test_sets}
        return Finding(review, maps, candidate, champion, blank)

    def _review(
        self,
        files: Mapping[str, VersionFiles],
        test_sets: Sequence[TestSet],
        progress: Callable[[int], Callable[[int], object]],
    ) -> tuple[Review, Sequence[AttentionMap]]:
        """Review the candidate's files, and compare them with those of the champion if there is one."""
        ours, theirs = files[CANDIDATE], files.get(OPPONENT)
        leaks, kept = find_leaks(test_sets, {name: each.training_sentences for name, each in files.items()})
        measurements, maps, failure = _measure(files, test_sets, progress)
        too_long = find_too_long(measurements)
        for name, lines in too_long.left_out.items():
            kept[name] = [index for index in kept[name] if index + 1 not in lines]
        comparisons = self._compare(test_sets, kept, measurements, theirs, ours.languages[1])
        system = _describe_version(ours, measurements.get(CANDIDATE))
        opponent = (
            _describe_version(theirs, measurements.get(OPPONENT)) if theirs else _describe_baseline(ours, comparisons)
        )
        review = Review(
            system,
            opponent,
            comparisons,
            judge(self.settings.gates, comparisons, system, opponent, leaks),
            leaks,
            self._provenance(test_sets),
            failure,
            too_long,
            changes=find_version_changes(ours, theirs, system, opponent) if theirs else [],
            card=write_short_card(ours.corpus, ours.model, ours.evaluation, system.commit),
        )
        return review, maps

    def _pair(self, number: int | None) -> tuple[ModelVersion, ModelVersion | None]:
        """Return the candidate and the champion. Raise UserError if they cannot be compared."""
        state = self.models.history.state()
        candidate, champion = self.models.candidate(number), self.models.champion(state)
        if champion and self.models.is_champion(candidate, state):
            raise UserError(
                f"version {candidate.version} of {candidate.name} is the champion, so there is nothing to compare; "
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
        """Compare the systems on the `kept` sentences of each test set. Test sets without any are not compared.

        Without measurements, nothing is compared.
        """
        gates = self.settings.gates.model_dump()
        levels = {metric: gates[name]["level"] for name, metric in LOSSES.items()}
        comparisons = []
        for test_set in test_sets:
            if not measurements or not (indices := kept[test_set.name]):
                continue
            opponent, texts = (
                (champion.name, measurements[OPPONENT].texts[test_set.name])
                if champion
                else _best_baseline(test_set, language)
            )
            columns = (test_set.sources, test_set.references, measurements[CANDIDATE].texts[test_set.name], texts)
            sources, references, candidate, theirs = ([column[index] for index in indices] for column in columns)
            lines = [index + 1 for index in indices]
            comparisons.append(
                compare(test_set.name, sources, references, candidate, opponent, theirs, language, levels, lines)
            )
        return comparisons

    def _provenance(self, test_sets: Sequence[TestSet]) -> Provenance:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        read = {test_set.name: test_set.digest for test_set in test_sets}
        settings = self.settings.model_dump(mode="json")
        origins = {test_set.name: test_set.origin for test_set in test_sets}
        experiment, hardware = self.models.experiment, f"{processor()}, {os.cpu_count()} cores"
        return Provenance(now, self.by, settings, read, git_commit(), hardware, isolation(), origins, experiment)


def _measure(
    files: Mapping[str, VersionFiles],
    test_sets: Sequence[TestSet],
    progress: Callable[[int], Callable[[int], object]],
) -> tuple[Mapping[str, Measurement], Sequence[AttentionMap], Failure | None]:
    """Translate the test sets with each package in a sandbox. If the candidate's fails, return the reason instead."""
    sources = {test_set.name: test_set.sources for test_set in test_sets}
    with ExitStack() as processes:
        models = {
            name: processes.enter_context(load_sandboxed(each.package, each.name)) for name, each in files.items()
        }
        advance = progress(len(models) * sum(map(len, sources.values())))
        try:
            return measure_models(models, sources, advance), _draw_maps(models[CANDIDATE], test_sets[0]), None
        except Misbehaviour as error:
            if error.name != files[CANDIDATE].name:
                raise
            return {}, [], Failure(error.reason, error.said)


def _check_languages(files: Mapping[str, VersionFiles]) -> None:
    """Raise UserError if the champion and the candidate do not translate between the same languages."""
    ours, theirs = files[CANDIDATE], files.get(OPPONENT)
    if theirs and list(map(standard_code, ours.languages)) != list(map(standard_code, theirs.languages)):
        raise UserError(
            f"{ours.name} translates {' to '.join(ours.languages)}, but the champion, {theirs.name}, translates "
            f"{' to '.join(theirs.languages)}: they cannot be compared; give each pair of languages a registered model "
            "of its own (register.model_name)"
        )


def _best_baseline(test_set: TestSet, language: str) -> tuple[str, Sequence[str]]:
    """Return the name and the translations of the baseline with the highest BLEU."""
    scorer = Scorer(test_set.sources, test_set.references, language)
    return max(test_set.baselines.items(), key=lambda item: scorer.score(item[1]).bleu)


def _describe_version(files: VersionFiles, measurement: Measurement | None) -> System:
    version, record = files.version, files.record
    source, target = files.languages
    return System(
        name=version.name,
        version=str(version.version),
        source_language=source,
        target_language=target,
        digests={"corpus": record.corpus, "model": record.model, "package files": files_digest(version)},
        commit=record.commit,
        parameters=ModelFacts.of(files.model).parameters,
        size_bytes=files.size_bytes,
        speed=measurement.speed if measurement else None,
        unknown_pieces=measurement.unknown_pieces if measurement else {},
        training_run=(files.run.info.experiment_id, files.run.info.run_id),
    )


def _describe_baseline(candidate: VersionFiles, comparisons: Sequence[Comparison]) -> System:
    """Describe the best baseline. If several baselines are best, each on some test sets, name all of them."""
    source, target = candidate.languages
    names = " or ".join(dict.fromkeys(comparison.opponent for comparison in comparisons)) or "not chosen"
    return System(names, None, source, target, {}, None, None, None, None, {})


def _draw_maps(model: SandboxedModel, test_set: TestSet) -> list[AttentionMap]:
    """Draw the attention for a few sentences, the same ones in every review. A model without attention has none."""
    lines = np.random.default_rng(1).permutation(len(test_set.sources)) + 1
    maps: list[AttentionMap] = []
    for line in map(int, lines[: 20 * MAPS]):
        if len(maps) == MAPS:
            break
        (best,), _ = model.explain([test_set.sources[line - 1]], attention=True)
        if best and best.attention and _is_drawable(best):
            title = f"{test_set.name}, line {line}: {test_set.sources[line - 1]}"
            maps.append(AttentionMap(title, _picture(best)))
    return maps


def _picture(best: SandboxedTranslation) -> bytes:
    """Draw the attention of a translation. The picture has no title, because the report shows the title as text."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "attention.png"
        draw_heat_map(path, np.array(best.attention, dtype=np.float32), best.source_tokens, best.tokens, title="")
        return path.read_bytes()


def _is_drawable(best: SandboxedTranslation) -> bool:
    """Return whether a picture would be small. The candidate chooses the number of pieces and their lengths."""
    longest = max(map(len, [*best.tokens, *best.source_tokens]), default=0)
    return len(best.source_tokens) - 1 in MAP_PIECES and len(best.tokens) <= MAP_ROWS and longest <= MAP_LETTERS
