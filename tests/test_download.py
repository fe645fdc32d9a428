"""Making the corpus of raw pairs: cleaning, splits and their sizes, leaks, counts, errors."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipeline.data import corpus, pair_files
from pipeline.data.cleaning import Pair
from pipeline.data.facts import CorpusFacts
from pipeline.data.keys import keys
from pipeline.data.sources import RawCorpus
from pipeline.data.splits import read_split
from pipeline.data.splitting import merged
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import DownloadSettings
from pipeline.plumbing.params_file import read_params
from tests.downloading import ROOT, download

ORIGINS = [{"name": name, "licence": "MIT", "sha256": "0" * 64} for name in ("one", "two")]


def settings(**changes: object) -> DownloadSettings:
    defaults = {"source": "files", "source_language": "en", "target_language": "de"}
    return DownloadSettings.model_validate({**defaults, "validation_pairs": 5, "test_pairs": 5, **changes})


@dataclass(frozen=True)
class Built:
    """A corpus that was made, as (source, target) of each split."""

    splits: dict[str, list[tuple[str, str]]]
    facts: CorpusFacts


def build(raw: RawCorpus, settings: DownloadSettings) -> Built:
    with TemporaryDirectory() as name:
        directory = Path(name)
        facts = corpus.build(raw, settings, directory, map, print)
        assert sorted(path.stem for path in directory.iterdir()) == sorted(facts.splits)
        splits = {split: list(zip(*read_split(directory / f"{split}.parquet"), strict=True)) for split in facts.splits}
    assert {split: len(pairs) for split, pairs in splits.items()} == facts.splits
    return Built(splits, facts)


def source_keys(pairs: list[tuple[str, str]]) -> list[str]:
    return keys([source for source, _ in pairs])


def open_sizes(*given: str) -> dict[str, object]:
    """Return settings without a size for the held-out splits that the source has."""
    return {f"{name}_pairs": None for name in given}


def raw_corpus(count: int) -> RawCorpus:
    """Return different pairs of two origins. For every third there is a variant of the sentence, with a translation."""
    names = [f"{a}{b}" for a in "bdfgk" for b in ("ano", "elu", "imi", "oru", "uta", "aki")][:count]
    pairs = [Pair(f"the {name} dog", f"der {name} Hund", i % 2) for i, name in enumerate(names)]
    variants = [Pair(f"The {name} dog!", f"Der {name} Köter", 1) for name in names[::3]]
    return RawCorpus({"train": [*pairs, *variants]}, ORIGINS)


def test_every_raw_pair_is_in_a_split_or_counted_as_dropped() -> None:
    given = raw_corpus(30)
    train = list(given.splits["train"])
    given.splits["train"] = [*train, train[0], Pair("", ""), Pair("same", "same")]
    corpus = build(given, settings())
    kept = corpus.facts.splits
    assert sum(kept.values()) + sum(corpus.facts.dropped.values()) == len(train) + 3
    assert (kept["validation"], kept["test"]) == (5, 5)
    assert corpus.facts.dropped["duplicate"] == 1
    assert [source.name for source in corpus.facts.sources] == ["one", "two"]
    assert sum(source.pairs for source in corpus.facts.sources) == sum(kept.values())


def test_held_out_splits_are_a_tenth_of_a_small_corpus_or_as_large_as_the_setting() -> None:
    names = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("no", "lu", "mi", "ru")]
    pairs = [Pair(f"the {name} dog", f"der {name} Hund", 0) for name in names]

    def sizes(count: int, **changes: object) -> tuple[int, int, int]:
        given = RawCorpus({"train": pairs[:count]}, ORIGINS[:1])
        corpus = build(given, settings(**{"validation_pairs": None, "test_pairs": None, **changes}))
        kept = corpus.facts.splits
        assert corpus.facts.cut == {"validation": kept["validation"], "test": kept["test"]}
        return kept["train"], kept["validation"], kept["test"]

    assert sizes(100) == (80, 10, 10)
    assert sizes(100, test_pairs=40) == (50, 10, 40)
    assert sizes(9) == (7, 1, 1)
    letters = [f"{a}{b}" for a in "bcdfghjklm" for b in "abcdefghijklmno"]
    pairs = [Pair(f"{source} {x}", f"{target} {x}", 0) for source, target, _ in pairs for x in letters]
    assert sizes(15_000) == (13_000, 1000, 1000)
    assert sizes(15_000, validation_pairs=2000) == (12_000, 2000, 1000)


def test_variants_of_a_sentence_are_in_the_same_split() -> None:
    corpus = build(raw_corpus(30), settings())
    keys = {name: set(source_keys(pairs)) for name, pairs in corpus.splits.items()}
    assert not keys["train"] & keys["test"]
    assert not keys["train"] & keys["validation"]
    assert not keys["validation"] & keys["test"]
    assert {len(keys["validation"]), len(keys["test"])} == {5}  # one reference for each source


def test_the_same_settings_give_the_same_corpus_and_another_seed_gives_another() -> None:
    assert build(raw_corpus(30), settings()) == build(raw_corpus(30), settings())
    assert build(raw_corpus(30), settings()).splits["test"] != build(raw_corpus(30), settings(seed=2)).splits["test"]


@pytest.mark.parametrize("given", [(), ("test",), ("validation", "test")])
def test_files_and_ranges_of_any_size_give_the_same_corpus(
    given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pairs that repeat others in other files, second translations, leaks and blank sides."""
    pairs = list(raw_corpus(30).splits["train"])
    held_out = {name: [pairs[number], Pair(f"a {name} fox", "ein Fuchs")] for number, name in enumerate(given)}
    train = [*pairs, Pair("a cat", "", 1), *pairs[3:9], Pair("The belu dog", "Ein Hund", 0), Pair("1 2", "1 2", 0)] * 2
    chosen = settings(**open_sizes(*given), cleaning={"skip": ["empty", "no_words", "length_ratio"]})

    def made() -> Built:
        return build(RawCorpus({**held_out, "train": iter(train)}, ORIGINS), chosen)

    whole = made()
    assert whole.facts.dropped["duplicate"] > len(pairs)
    for pairs_of_a_file, bytes_of_a_range in ((1, 10_000), (7, 3000), (1000, 2000)):
        monkeypatch.setattr(pair_files, "PAIRS", pairs_of_a_file)
        monkeypatch.setattr(corpus, "RANGE_BYTES", bytes_of_a_range)
        assert made() == whole


def test_a_pair_that_is_lost_stops_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "merged", lambda *arguments: merged(*arguments).slice(1))
    with pytest.raises(RuntimeError, match="^40 pairs were read, but 37 kept and "):
        build(raw_corpus(30), settings())


def test_if_cleaning_drops_everything_the_error_names_the_rule_and_the_setting() -> None:
    advice = (
        "identical dropped 1 of 1 pairs, such as 'same' -> 'same'; if these are good pairs, set "
        "download.cleaning.skip: [placeholders, identical]"
    )
    given = RawCorpus({name: [Pair("same", "same")] for name in ("train", "validation", "test")}, ORIGINS[:1])
    with pytest.raises(UserError) as refusal:
        build(given, settings(**open_sizes("validation", "test")))
    assert str(refusal.value).endswith(advice)
    with pytest.raises(UserError) as refusal:  # also if test sets are cut from the training pairs
        build(RawCorpus({"train": [Pair("same", "same")]}, ORIGINS[:1]), settings())
    assert str(refusal.value).startswith("no pair is left to train on; dropped: identical 1; ")
    assert str(refusal.value).endswith(advice)


@pytest.mark.parametrize("given", [("test",), ("validation",), ("validation", "test")])
def test_a_held_out_split_equal_to_the_training_split_is_reported_as_leaks(given: tuple[str, ...]) -> None:
    pairs = list(raw_corpus(30).splits["train"])
    with pytest.raises(UserError) as refusal:
        build(RawCorpus(dict.fromkeys(("train", *given), pairs), ORIGINS[:1]), settings(**open_sizes(*given)))
    message = str(refusal.value)
    assert message.startswith(
        f"no pair is left to train on; dropped: source_leak {len(pairs)}; a leak is a training pair"
    )
    assert "download" not in message
    with pytest.raises(UserError) as refusal:  # also if a few pairs are left
        build(RawCorpus({"train": pairs, "test": pairs[:-3]}, ORIGINS[:1]), settings(**open_sizes("test")))
    assert "; dropped: source_leak " in str(refusal.value)


def test_blank_pairs_of_a_test_set_of_the_source_are_dropped_and_counted() -> None:
    given = raw_corpus(30)
    given.splits["test"] = [Pair("", ""), Pair("a fox runs", "\u200b"), Pair("a fox  runs", "ein Fuchs läuft")]
    corpus = build(given, settings(test_pairs=None))
    assert corpus.splits["test"] == [("a fox runs", "ein Fuchs läuft")]
    assert corpus.facts.dropped["blank_held_out"] == 2
    given.splits["test"] = [Pair("", "")]
    with pytest.raises(UserError, match="^the split test: no pair has text on both sides$"):
        build(given, settings(test_pairs=None))


def test_a_test_set_that_is_cut_has_no_blank_pairs() -> None:
    blank = [Pair(f"the {letter} cat", "", 0) for letter in "abcdefghij"]
    given = RawCorpus({"train": [*raw_corpus(30).splits["train"], *blank]}, ORIGINS)
    corpus = build(given, settings(cleaning={"skip": ["empty", "no_words", "length_ratio"]}))
    assert sorted(pair for pair in corpus.splits["train"] if not pair[1]) == [pair[:2] for pair in blank]
    assert all(target for name in ("validation", "test") for _, target in corpus.splits[name])


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_size_for_a_split_that_the_source_has_is_an_error(name: str) -> None:
    given = raw_corpus(30)
    given.splits[name] = [Pair("a fox runs", "ein Fuchs läuft")]
    with pytest.raises(UserError, match=rf"^download.{name}_pairs: got 5, but the source already has {name}, "):
        build(given, settings())


def test_the_advice_repeats_the_rules_that_are_already_skipped() -> None:
    """Otherwise following the advice would switch on a rule that an earlier advice switched off."""
    given = RawCorpus({"train": [Pair(f"{{a}} τὸν ἄνδρα {x}", f"the man {x}") for x in "αβγδ"]}, ORIGINS[:1])
    for skip, advised in ((None, "[placeholders, script]"), (["no_words"], "[no_words, placeholders]")):
        with pytest.raises(UserError) as refusal:
            build(given, settings(cleaning={"skip": skip}))
        assert str(refusal.value).endswith(f"download.cleaning.skip: {advised}")


@pytest.mark.parametrize(
    ("languages", "source", "target"),
    [
        (("zh-CN", "pt-BR"), "第{}只老狗睡着了", "O cão velho {} dorme"),
        (("en", "my"), "The old dog {} sleeps", "ခွေးအိုကြီး {} အိပ်နေသည်။"),
    ],
)
def test_languages_without_spaces_pass_the_default_thresholds(
    languages: tuple[str, str], source: str, target: str
) -> None:
    codes = dict(zip(("source_language", "target_language"), languages, strict=True))
    signs = {"zh-CN": "东西南北中里外上下左右前后高低", "en": "abcdefghijklmno"}[languages[0]]
    words = {"pt-BR": "abcdefghijklmno", "my": "ကခဂဃငစဆဇဈညဋဌဍဎဏ"}[languages[1]]
    pairs = [Pair(source.format(a), target.format(b)) for a, b in zip(signs, words, strict=True)]
    corpus = build(RawCorpus({"train": pairs}, ORIGINS[:1]), settings(**codes, cleaning={"min_source_words": 3}))
    assert corpus.facts.dropped == dict.fromkeys(corpus.facts.dropped, 0)
    assert sum(corpus.facts.splits.values()) == 15


def test_a_failed_run_leaves_the_older_corpus_unchanged(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"en": f"the {n} dog", "de": f"der {n} Hund"}) + "\n" for n in ("old", "big", "shy"))
    (tmp_path / "train.jsonl").write_text(lines, encoding="utf-8")
    files = {"splits": {"train": "train.jsonl"}}
    first = download(tmp_path, source="files", files=files, validation_pairs=1, test_pairs=1)
    assert first.status == 0, first.errors
    before = {path.name: path.read_bytes() for path in first.directory.iterdir()}
    assert download(tmp_path, source="files", files=files, validation_pairs=9).status == 2
    assert {path.name: path.read_bytes() for path in first.directory.iterdir()} == before


@pytest.mark.parametrize("experiment", [None, "multi30k-files"])
def test_the_settings_files_of_this_project_are_valid(experiment: str | None) -> None:
    overlays = [ROOT / f"experiments/{experiment}.yaml"] if experiment else []
    params = read_params([ROOT / "params.yaml", *overlays])
    assert params.download.source == ("files" if experiment else "wheels")
