"""A review's test sets: the run's own with both baselines, and those that the settings name."""

from pathlib import Path

import pytest

from pipeline.data.splits import read_split
from pipeline.plumbing.artifacts import Artifact, open_artifact
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import ReviewSettings
from pipeline.reviews.test_sets import read_test_sets
from tests.published import publish_evaluation

LANGUAGES = "en", "de"


@pytest.fixture(scope="module")
def evaluation(versions: Path) -> Artifact:
    return open_artifact(versions / "first" / "evaluation", "evaluate")


def settings(**test_sets: object) -> ReviewSettings:
    return ReviewSettings.model_validate({"test_sets": test_sets})


def test_the_run_s_own_test_set_has_both_baselines(evaluation: Artifact, versions: Path) -> None:
    (test_set,) = read_test_sets(evaluation, None, settings(), LANGUAGES)
    sources, references = read_split(versions / "first/corpus/test.parquet")
    assert (test_set.name, test_set.sources, test_set.references) == ("test", sources, references)
    assert set(test_set.baselines) == {"translation memory", "source copied"}
    assert test_set.baselines["source copied"] == sources
    assert len(test_set.baselines["translation memory"]) == len(sources)


def test_a_named_one_is_read_by_its_columns_cleaned_of_breaks_and_blanks(evaluation: Artifact, tmp_path: Path) -> None:
    lines = ["de\ten", "Guten  Tag\tgood day", "\tno target", "a\u2028b\te\u0301te\u0301"]
    (tmp_path / "more.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    own, more = read_test_sets(evaluation, None, settings(more=str(tmp_path / "more.tsv")), LANGUAGES)
    assert (own.name, more.name) == ("test", "more")
    assert (more.sources, more.references) == (["good day", "\u00e9t\u00e9"], ["Guten Tag", "a b"])
    assert more.baselines == {"source copied": more.sources}
    assert (own.blank, more.blank) == (0, 1)


def test_aligned_lines_and_variables_are_read(
    evaluation: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.en").write_text("good day\ngood night\n")
    (tmp_path / "a.de").write_text("guten Tag\ngute Nacht\n")
    monkeypatch.setenv("EXAMS", str(tmp_path))
    named = settings(night={"source": "${EXAMS}/a.en", "target": "${EXAMS}/a.de"})
    _, night = read_test_sets(evaluation, None, named, LANGUAGES)
    assert (night.sources, night.references) == (["good day", "good night"], ["guten Tag", "gute Nacht"])


def test_the_champion_s_count_too_each_once_and_under_a_name_of_its_own(
    evaluation: Artifact, versions: Path, tmp_path: Path
) -> None:
    corpus, model = (open_artifact(versions / "first" / name, name) for name in ("corpus", "model"))
    own = read_split(corpus.path("test.parquet"))
    news, easy = (["good day"], ["guten Tag"]), (["one", "two"], ["eins", "zwei"])
    theirs = publish_evaluation(tmp_path / "theirs", corpus, model, {"exam": own, "Test": news, "more": easy})
    found = read_test_sets(evaluation, theirs, settings(), LANGUAGES)
    assert [(test_set.name, test_set.origin) for test_set in found] == [
        ("test", "both"),
        ("Test of the champion", "champion"),
        ("more", "champion"),
    ]
    assert [(test_set.sources, test_set.references) for test_set in found] == [own, news, easy]
    changed = {"test": (own[0], own[0]), "test of the champion": own, "mine": easy}  # references of another's choice
    ours = publish_evaluation(tmp_path / "ours", corpus, model, changed)
    found = read_test_sets(ours, evaluation, settings(), LANGUAGES)
    assert [test_set.origin for test_set in found] == ["candidate", "both", "candidate"]
    ours = publish_evaluation(tmp_path / "ours", corpus, model, changed | {"test of the champion": news})
    *_, champion = read_test_sets(ours, evaluation, settings(), LANGUAGES)
    assert (champion.name, champion.references) == ("test of the champion of the champion", own[1])


def test_a_name_that_the_run_has_already_is_refused(evaluation: Artifact, tmp_path: Path) -> None:
    (tmp_path / "more.tsv").write_text("de\ten\na\tb\n")
    for name in ("test", "Test"):  # one file where case does not count
        told = rf"^review\.test_sets\.{name}: the run of the candidate or of the champion has .*\(test\); choose an"
        with pytest.raises(UserError, match=told):
            read_test_sets(evaluation, None, settings(**{name: str(tmp_path / "more.tsv")}), LANGUAGES)


def test_a_file_that_is_missing_or_empty_is_named_with_its_setting(evaluation: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^review\.test_sets\.more: the file .*gone\.tsv is missing; check the path$"):
        read_test_sets(evaluation, None, settings(more=str(tmp_path / "gone.tsv")), LANGUAGES)
    (tmp_path / "blank.tsv").write_text("de\ten\n \tb\na\t \n")
    with pytest.raises(UserError, match=r"^review\.test_sets\.more: no pair has text on both sides$"):
        read_test_sets(evaluation, None, settings(more=str(tmp_path / "blank.tsv")), LANGUAGES)


@pytest.mark.parametrize("name", ["a;b", "../up", "news/2014", "", "two\nlines"])
def test_a_name_that_no_metric_can_have_is_refused_before_all_work(name: str) -> None:
    with pytest.raises(ValueError, match=r"test_sets\n.*got the name .*, expected letters, digits"):
        settings(**{name: "more.tsv"})


def test_an_evaluation_without_a_translation_memory_is_told(evaluation: Artifact) -> None:
    evaluation.files.pop("test.memory.txt")
    with pytest.raises(UserError, match=r"lists no file 'test\.memory\.txt'"):
        read_test_sets(evaluation, None, settings(), LANGUAGES)
