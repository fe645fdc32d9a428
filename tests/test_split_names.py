"""Names of splits serve files, metrics and each other; what cannot is told when the settings are read."""

from pathlib import Path

import pytest
from mlflow.utils.validation import _validate_metric_name

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params_file import read_params
from pipeline.plumbing.split_names import check_names, same_names

DOWNLOAD = "source_language: en, target_language: de"
SPLITS = f"download: {{source: files, {DOWNLOAD}, files: {{splits: {{train: a.tsv, %s: b.tsv}}}}}}"


@pytest.mark.parametrize(
    "name",
    [
        *("test", "test_2016", "newstest2019", "flores_devtest", "dev_test", "test.2014-de", "test 1", "Test", "news"),
        *("tatoeba", "тест", "heldout", "valley", "trainers", "devices", "validation test"),
    ],
)
def test_mlflow_accepts_every_allowed_name_of_a_test_set(name: str) -> None:
    check_names([name, "train", "validation"], known=("train", "validation"))
    _validate_metric_name(f"{name}/beam/bleu")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("newstest(2014)", "newstest_2014"),
        ("../up", "up"),
        ("news/2014", "news_2014"),
        ("a;b", "a_b"),
        (".hidden", "hidden"),
        ("two\nlines", "two_lines"),
        ("test ", "test"),
        ("test 100 %", "test 100"),
        ("a" * 101, "a" * 40),
        ("ä" * 60, "ä" * 40),
        ("", ""),
        ("?", ""),
    ],
)
def test_a_forbidden_name_is_an_error_with_a_proposal(name: str, proposal: str) -> None:
    with pytest.raises(ValueError, match=r"^got the name .*, expected letters, digits") as caught:
        check_names([name])
    assert str(caught.value).endswith(f"; for example {proposal}" if proposal else "at both ends")
    if proposal:
        check_names([proposal])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *((name, "validation") for name in ("valid", "val", "dev", "Validation", "dev2010", "validaton", "valid.en")),
        *((name, "validation") for name in ("validate", "VALID", "eval", "evaluation", "validation_2")),
        *((name, "train") for name in ("trian", "training", "Train", "trai", "train_2", "train-clean", "trains")),
    ],
)
def test_a_misspelt_train_or_validation_is_an_error(tmp_path: Path, name: str, meant: str) -> None:
    (tmp_path / "params.yaml").write_text(SPLITS % name)
    with pytest.raises(UserError) as caught:
        read_params([tmp_path / "params.yaml"])
    assert f"download.files.splits: got {name!r}, which would be a test set; did you mean {meant}?" in str(caught.value)


def test_names_that_differ_only_in_case_or_unicode_form_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^got the name 'a/b'.*; 'News' and 'news' would be the same file"):
        check_names(["News", "a/b", "news"])
    assert same_names(["\u00e9", "b", "e\u0301", "b"]) == [("e\u0301", "\u00e9"), ("b", "b")]


def test_names_of_test_sets_of_a_review_are_checked_too(tmp_path: Path) -> None:
    base = f"download: {{source: wheels, {DOWNLOAD}}}\n"
    for name, words in [("'a(b)'", "got the name 'a(b)'"), ("validation", "got 'validation', which would be")]:
        (tmp_path / "params.yaml").write_text(f"{base}review: {{test_sets: {{{name}: a.tsv}}}}\n")
        with pytest.raises(UserError) as caught:
            read_params([tmp_path / "params.yaml"])
        assert f"review.test_sets: {words}" in str(caught.value)
