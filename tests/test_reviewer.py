"""Reviews of real packages; what cannot be reviewed is refused before anything is translated."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from mlflow import MlflowClient

from pipeline.data.fingerprints import fingerprints
from pipeline.data.splits import read_split
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import ReviewSettings
from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.sandbox.sandboxed_model import SandboxedModel, SandboxedTranslation
from pipeline.registry.versions import PACKAGE_TAG, identify
from pipeline.reviews.measurement import TooLong
from pipeline.reviews.promotion_history import PromotionHistory
from pipeline.reviews.registered_models import RegisteredModels
from pipeline.reviews.review import Review
from pipeline.reviews.review_runs import ReviewRuns
from pipeline.reviews.reviewer import Reviewer, _draw_maps
from pipeline.reviews.test_sets import TestSet
from pipeline.reviews.version_changes import VersionChange
from pipeline.seq2seq.translator import Translator
from stages.review import describe
from tests.registered import ANYTHING, LENIENT, MODEL, evaluate_otherwise, get, package_of, rewrite_record
from tests.reviews import report


@pytest.fixture
def client(registry: Path) -> MlflowClient:
    return open_store(registry)


def reviewer(
    client: MlflowClient, settings: ReviewSettings = LENIENT, candidates: str = MODEL, experiment: str = "again"
) -> Reviewer:
    return Reviewer(RegisteredModels(client, candidates, MODEL, experiment), settings, "jane")


def with_test_set(name: str, path: Path) -> ReviewSettings:
    return ReviewSettings.model_validate({"gates": ANYTHING, "test_sets": {name: str(path)}})


def crown(client: MlflowClient, version: int) -> None:
    """Make any version the champion."""
    history = PromotionHistory(client, MODEL)
    history.append("promote", identify(get(client, version)), history.state(), "ann", "because", forced=False)
    history.set_aliases()


def quietly(total: int) -> Callable[[int], object]:
    return lambda done: None


def never(total: int) -> NoReturn:
    pytest.fail(f"it went on to translate {total} sentences")


def refusal(client: MlflowClient, version: int | None = 2, **more: Any) -> str:
    with pytest.raises(UserError) as refused:
        reviewer(client, **more).review(version, never)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def timeless(review: Review) -> tuple[Any, ...]:
    """Return the parts of a review that must be the same when it is repeated."""
    gates = [(gate.name, gate.verdict, gate.value) for gate in review.gates if gate.name != "latency_ratio"]
    return review.comparisons, gates, review.leaks, review.verdict


def test_without_a_champion_the_newest_version_is_compared_with_the_baselines_and_leaks_fail_it(
    client: MlflowClient, versions: Path, tmp_path: Path
) -> None:
    sources, targets = read_split(versions / "again/corpus/train.parquet")
    leaked = [f"{sources[5].upper()}?!\t{targets[5]}", f"nobody wrote this before\t{targets[6].lower()}", "a b\tc d"]
    (tmp_path / "more.tsv").write_text("\n".join(["en\tde", *leaked]) + "\n")
    told: list[int] = []

    def count(total: int) -> Callable[[int], object]:
        told.append(-total)
        return told.append

    finding = reviewer(client, with_test_set("more", tmp_path / "more.tsv")).review(None, count)
    review = finding.review
    assert (int(finding.candidate.version), finding.champion) == (3, None)
    assert [(c.test_set, c.sentences, c.opponent) for c in review.comparisons] == [
        ("test", 10, "translation memory"),
        ("more", 1, "source copied"),
    ]
    assert [gate.name for gate in review.gates if gate.blocks] == ["leak"]
    assert review.verdict == "fail"
    assert review.leaks.counts == {"candidate": {"test": 0, "more": 2}}
    assert [(leak.test_set, leak.line, leak.side, leak.text) for leak in review.leaks.examples] == [
        ("more", 1, "source", f"{sources[5].upper()}?!"),
        ("more", 2, "target", targets[6].lower()),
    ]
    assert (review.leaks.left_out, review.leaks.unchecked) == ({"test": 0, "more": 2}, [])
    assert sum(told) == 0  # as many sentences were done as had been announced
    assert review.candidate.digests["package files"] == finding.candidate.tags[PACKAGE_TAG]
    assert review.provenance.reviewer == "jane"


@pytest.mark.slow
def test_a_repeated_review_against_the_champion_has_the_same_result(client: MlflowClient, registry: Path) -> None:
    crown(client, 1)
    review_runs = ReviewRuns(client, MODEL, registry)
    found = []
    for _ in range(2):
        finding = reviewer(client).review(2, quietly)
        found.append(timeless(finding.review))
        verdict = review_runs.keep(
            finding.candidate, finding.champion, finding.review, report(finding.review, finding.maps)
        )
    assert found[0] == found[1]
    assert (verdict.is_pass, verdict.compared_with) == (True, "1")
    assert review_runs.find(get(client, 2)) == [verdict]
    run = client.get_run(verdict.run_id)
    assert all(len(client.get_metric_history(verdict.run_id, key)) == 1 for key in run.data.metrics)
    (comparison,) = finding.review.comparisons
    assert comparison.opponent == f"version 1 of {MODEL}"
    assert comparison.scores["candidate"] != comparison.scores["opponent"]  # each ran with weights of its own
    assert len(finding.maps) == 3
    assert all(re.match(r"test, line \d+: \S", picture.title) for picture in finding.maps)
    assert finding.review.changes[0] == VersionChange("seed", "1", "2")
    assert finding.review.card.startswith("Translates en to de: ")
    assert finding.review.opponent.size_bytes


@pytest.mark.slow
def test_equal_weights_make_no_difference_and_ten_sentences_decide_nothing(client: MlflowClient) -> None:
    crown(client, 1)
    demanding = {"gates": ANYTHING | {"bleu_drop": {"margin": 1.0, "level": 0.95, "required": True}}}
    review = reviewer(client, ReviewSettings.model_validate(demanding)).review(3, quietly).review
    (comparison,) = review.comparisons
    assert (comparison.differences["bleu"].points, comparison.better, comparison.worse) == (0.0, 0, 0)
    assert (review.verdict, [gate.name for gate in review.gates if gate.blocks]) == ("inconclusive", ["bleu_drop"])


@pytest.mark.slow
def test_lines_that_are_too_long_are_left_out_and_do_not_fail_the_candidate(
    client: MlflowClient, tmp_path: Path
) -> None:
    sources = ["close a brand new door", "🙂" * 1_500, "open it wide", "word " * 500, "x" * 300]
    lines = [f"{source}\tziel {place}" for place, source in enumerate(sources)]
    (tmp_path / "more.tsv").write_text("\n".join(["en\tde", *lines]) + "\n", encoding="utf-8")
    finding = reviewer(client, with_test_set("more", tmp_path / "more.tsv")).review(3, quietly)
    assert (finding.review.failure, finding.review.too_long) == (None, TooLong({"more": [2, 4]}))
    assert [(c.test_set, c.sentences) for c in finding.review.comparisons] == [("test", 10), ("more", 3)]
    assert finding.review.verdict == "pass"
    assert [line for line in describe(finding) if line.startswith("warning: more: 2 lines left out for both")]


def test_the_champion_is_not_compared_with_itself(client: MlflowClient) -> None:
    crown(client, 2)
    told = refusal(client)
    assert told == (
        f"version 2 of {MODEL} is the champion, so there is nothing to compare; run: make review VERSION=3 EXP=again"
    )


def test_the_champion_s_test_sets_are_translated_too(client: MlflowClient, registry: Path, versions: Path) -> None:
    evaluate_otherwise(client, registry, versions)
    crown(client, 1)
    asked: list[int] = []

    def stop(total: int) -> NoReturn:
        asked.append(total)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        reviewer(client).review(2, stop)
    assert asked == [2 * (10 + 10)]


@pytest.mark.slow
def test_a_candidate_does_not_pass_by_references_that_it_wrote(
    client: MlflowClient, registry: Path, versions: Path
) -> None:
    sources, references = read_split(versions / "other/corpus/test.parquet")
    outputs = [text.text for text in Translator.load(versions / "other/model").translate(sources, beam_size=5)]
    evaluate_otherwise(client, registry, versions, outputs)
    crown(client, 1)
    finding = reviewer(client).review(2, quietly)
    review = finding.review
    _, champions = review.comparisons
    assert review.provenance.origins == {"test": "candidate", "test of the champion": "champion"}
    assert champions.test_set == "test of the champion"
    assert {change.reference for change in (*champions.gains, *champions.losses)} <= set(references)
    assert [line for line in describe(finding) if line.startswith("warning: the candidate was not evaluated on")]


@dataclass
class Wordy:
    """Stands in for a model. It answers with a given number of pieces of a given length."""

    pieces: int
    letters: int = 3

    def explain(
        self, sentences: Sequence[str], attention: bool = False
    ) -> tuple[list[SandboxedTranslation | None], float]:
        tokens, source = ["x" * self.letters] * self.pieces, ["piece"] * 6
        return [
            SandboxedTranslation(text="", tokens=tokens, source_tokens=source, attention=[[0.2] * 6] * self.pieces)
        ], 0.0


def test_attention_for_long_translations_is_not_drawn() -> None:
    test_set = TestSet("test", ["a b c d e"] * 4, ["A B C D E"] * 4, {}, "both")

    def drawn(model: Wordy) -> int:
        return len(_draw_maps(cast(SandboxedModel, model), test_set))

    assert (drawn(Wordy(5)), drawn(Wordy(61)), drawn(Wordy(5, 41))) == (3, 0, 0)


def test_other_languages_are_refused(client: MlflowClient, registry: Path) -> None:
    crown(client, 1)
    rewrite_record(registry, client, 2, target_language="fr")
    assert (
        f"version 2 of {MODEL} translates en to fr, but the champion, version 1 of {MODEL}, translates en to de"
        in refusal(client)
    )


def test_for_a_deleted_champion_a_rollback_is_named(client: MlflowClient) -> None:
    for version in (2, 1):
        crown(client, version)
    client.delete_model_version(MODEL, "1")
    told = refusal(client, 3)
    assert told.startswith(f"the champion, version 1 of {MODEL}, was deleted")
    assert told.endswith("go back to the previous champion: make rollback REASON=... EXP=again")


def test_a_version_without_the_tag_of_its_registration_is_refused(client: MlflowClient) -> None:
    client.delete_model_version_tag(MODEL, "2", PACKAGE_TAG)
    told = refusal(client)
    assert told.startswith(
        f"version 2 of {MODEL} has no tag {PACKAGE_TAG}: it was not registered by the present version"
    )
    assert told.endswith("; register it again: make register EXP=other")
    crown(client, 2)
    told = refusal(client, 1)
    assert told.startswith(f"the champion, version 2 of {MODEL}, has no tag {PACKAGE_TAG}: it was not ")


def test_without_a_version_to_review_the_command_that_makes_one_is_named(client: MlflowClient) -> None:
    assert refusal(client, None, candidates="nothing") == (
        "nothing has no version of the experiment again; run: make register EXP=again"
    )
    assert refusal(client, 9) == f"{MODEL} has no version 9; the last are 1, 2, 3; see: make versions EXP=again"


def test_files_that_were_changed_in_the_store_are_refused(client: MlflowClient, registry: Path) -> None:
    crown(client, 1)
    run = registry / "mlartifacts/other" / str(get(client, 2).run_id) / "artifacts"
    files = {  # the last named is the first looked at
        f"models:/{MODEL}/1": package_of(registry, client, 1) / "artifacts/model/weights.safetensors",
        f"models:/{MODEL}/2": package_of(registry, client, 2) / "artifacts/code/seq2seq/translator.py",
        "manifests/model.json": run / "manifests/model.json",
        "manifests/corpus.json": run / "manifests/corpus.json",
        "training_sentences/": next(run.glob("training_sentences/*.npz")),
        "evaluation of run": next(run.glob("evaluation/*/test.source.txt")),
    }
    for told, file in files.items():
        file.write_bytes(file.read_bytes() + b"\n}")
        assert refusal(client).startswith(told)


def test_a_test_set_that_exists_twice_or_not_at_all_is_refused(client: MlflowClient, tmp_path: Path) -> None:
    told = refusal(client, settings=with_test_set("test", tmp_path / "more.tsv"))
    assert told.startswith(
        "review.test_sets.test: the run of the candidate or of the champion has a test set of this name"
    )
    told = refusal(client, settings=with_test_set("more", tmp_path / "more.tsv"))
    assert told == f"review.test_sets.more: the file {tmp_path}/more.tsv is missing; check the path"


@pytest.mark.slow
def test_test_sentences_that_the_champion_was_trained_on_are_left_out_for_both(
    client: MlflowClient, registry: Path, tmp_path: Path
) -> None:
    crown(client, 1)
    champion = get(client, 1)
    lines = [f"unseen {word} of a test\tungesehen {word} im Test" for word in ("one", "two", "three", "four")]
    (tmp_path / "more.tsv").write_text("\n".join(["en\tde", *lines]) + "\n")
    seen = fingerprints([(["Unseen TWO of a test!"], ["Ungesehen four im Test."])])
    digest = hashlib.sha256(seen).hexdigest()
    (stored,) = registry.glob(f"mlartifacts/*/{champion.run_id}/artifacts/training_sentences")
    (stored / f"{digest[:8]}.npz").write_bytes(seen)
    rewrite_record(registry, client, 1, training_sentences=digest)
    review = reviewer(client, with_test_set("more", tmp_path / "more.tsv")).review(2, quietly).review
    assert {system: counts["more"] for system, counts in review.leaks.counts.items()} == {"candidate": 0, "opponent": 2}
    assert review.leaks.left_out == {"test": 0, "more": 2}
    (_, more) = review.comparisons
    assert more.sentences == 2
    assert {change.line for change in (*more.gains, *more.losses)} <= {1, 3}
    assert next(gate for gate in review.gates if gate.name == "leak").verdict == "pass"
