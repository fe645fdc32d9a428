"""Splitting: no sentence, and no variant of it, is both in the training split and in a held-out split."""

import random
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.data import pair_files
from pipeline.data import texts as texts_module
from pipeline.data.cleaning import Cleaned, Pair
from pipeline.data.keys import keys
from pipeline.data.languages import words_only
from pipeline.data.placeholders import PLACEHOLDER
from pipeline.data.similarity import References
from pipeline.data.splitting import HeldOut, are_duplicates, candidates, cut, keyed, merged
from pipeline.plumbing.errors import UserError

WORDS = st.sampled_from(["dog", "Dog", "cat", "dog!", "{name}", "7"])
PAIRS = st.lists(
    st.builds(
        Pair, st.lists(WORDS, min_size=1, max_size=3).map(" ".join), st.text("ab", min_size=1, max_size=2), st.just(0)
    ),
    max_size=40,
)


@pytest.mark.parametrize(
    "variant", ["the DOG sleeps", "The dog  sleeps!", "The dog, 3, sleeps…", "{x} the dog sleeps %s"]
)
def test_variants_of_a_sentence_have_the_same_key(variant: str) -> None:
    one, other = keys([variant, "The dog sleeps."])
    assert one == other


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("aZßŉ'ʼ%{}1 e\u0301\u3099语かกา") | st.characters(), max_size=16), max_size=8))
@example(["a\u3099 ŉ", "100 %d a語 語"])
def test_keys_are_the_words_of_each_sentence(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(texts_module, "BATCH", 3)
        assert keys(texts) == [words_only(PLACEHOLDER.sub(" ", text)) or text for text in texts]


def test_different_sentences_have_different_keys() -> None:
    assert len(set(keys(["The dog sleeps.", "The dogs sleep.", "dog the sleeps", "7", "8", "..."]))) == 6


def with_keys(pairs: list[Pair], seed: int) -> pa.Table:
    both = list(zip(keys([pair.source for pair in pairs]), keys([pair.target for pair in pairs]), strict=True))
    return keyed(Cleaned(pairs, both, [bool(pair.target) for pair in pairs], Counter(), {}), seed)


def source_keys(table: pa.Table) -> list[str]:
    return keys(table["source"].to_pylist())


@settings(deadline=None)
@given(PAIRS, st.integers(0, 3), st.integers(1, 4))
def test_a_cut_has_one_pair_for_each_of_some_keys(pairs: list[Pair], seed: int, parts: int) -> None:
    table = with_keys(pairs, seed)
    bounds = [2**64 * part // parts for part in range(parts + 1)]
    tables = [merged([table], first, end - 1) for first, end in zip(bounds, bounds[1:], strict=False)]
    assert pa.concat_tables(tables) == table
    found, sizes = sum(len(candidates(each)) for each in tables), {"validation": 1, "test": 2}
    assert found == len(set(source_keys(table)))
    if found <= 3:
        with pytest.raises(UserError, match=f"{found} different"):
            cut(tables, found, sizes)
        return
    splits = {name: source_keys(each) for name, each in cut(tables, found, sizes).items()}
    assert [len(splits[name]) for name in sizes] == [1, 2]
    assert len({*splits["validation"], *splits["test"]}) == 3
    assert pair_files.pairs_of(pa.concat_tables(cut(tables, found, sizes).values())) == [
        next(pair for pair in pairs if keys([pair.source]) == [key]) for key in [*splits["validation"], *splits["test"]]
    ]


def test_a_cut_depends_on_the_seed_but_not_on_the_order() -> None:
    pairs = [Pair(f"{chr(97 + i)} dog", "Hund") for i in range(26)]

    def chosen(pairs: list[Pair], seed: int) -> list[Pair]:
        return pair_files.pairs_of(cut([with_keys(pairs, seed)], len(pairs), {"test": 5})["test"])

    assert chosen(pairs, 1) == chosen(random.Random(1).sample(pairs, len(pairs)), 1)
    assert chosen(pairs, 1) != chosen(pairs, 2)


@settings(deadline=None)
@given(PAIRS)
def test_repeated_pairs_are_found_but_second_translations_are_none(pairs: list[Pair]) -> None:
    pairs = [pair._replace(origin=number) for number, pair in enumerate(pairs)]
    table = with_keys(pairs, 1)
    left = pair_files.pairs_of(table.filter(pa.array(~are_duplicates(table))))
    first = {(pair.source, pair.target): pair for pair in reversed(pairs)}
    assert sorted(left) == sorted(first.values())


def without_leaks(splits: dict[str, list[Pair]], max_similarity: float) -> tuple[list[Pair], Counter[str]]:
    """Return the training pairs that do not leak, in their order, and the number of leaks of each kind."""
    train = splits["train"]
    held_out = HeldOut([pair for name, pairs in splits.items() if name != "train" for pair in pairs], 1, max_similarity)
    left, dropped = held_out.without_leaks(with_keys(train, 1))
    return sorted(pair_files.pairs_of(left), key=train.index), dropped


def test_leaks_are_removed_from_the_training_split() -> None:
    splits = {
        "train": [
            Pair("The dog sleeps!", "Er ruht"),  # the source is in the test set
            Pair("A dog is asleep", "der Hund schläft."),  # the target is in the test set
            Pair("Some settings", "Einstellungen"),  # the target is too short to count
            Pair("A cat sleeps", "Eine Katze schläft"),
        ],
        "validation": [Pair("the dog sleeps", "Der Hund schläft")],
        "test": [Pair("The dog sleeps.", "Der Hund schläft"), Pair("Settings here", "Einstellungen")],
    }
    left, dropped = without_leaks(splits, max_similarity=1.0)
    assert left == splits["train"][2:]
    assert dropped == {"source_leak": 1, "target_leak": 1}


def test_in_languages_without_spaces_a_target_of_few_letters_is_no_leak() -> None:
    test = [Pair("Settings here", "设置"), Pair("The dog sleeps", "老狗在睡觉。")]
    train = [Pair("Some settings", "设置"), Pair("A dog is asleep", "老狗，在睡觉")]
    left, dropped = without_leaks({"train": train, "test": test}, max_similarity=1.0)
    assert (left, dropped["target_leak"]) == (train[:1], 1)


def test_words_that_differ_in_a_combining_mark_are_no_leak() -> None:
    test = [Pair("घर में दाल है", "eins"), Pair("ฉันซื้อเสื้อ", "zwei")]
    train = [Pair("घर में दिल है", "drei"), Pair("ฉันซื้อเสือ", "vier")]
    left, dropped = without_leaks({"train": train, "test": test}, max_similarity=1.0)
    assert (left, dropped.total()) == (train, 0)


@pytest.mark.parametrize("held_out", ["ja", "你好", "7", ""])
def test_sources_shorter_than_an_n_gram_are_similar_only_to_themselves(held_out: str) -> None:
    train = [Pair("no", "nein"), Pair("这个世界很大很大", "x"), Pair("jaja", "jaja")]
    splits = {"train": train, "test": [Pair(held_out, "wohl")]}
    left, dropped = without_leaks(splits, max_similarity=0.5)
    assert (left, dropped["similar_leak"]) == (train, 0)
    assert References([held_out]).highest([held_out, "no"]).tolist() == [1.0, 0.0]


def test_training_sources_too_similar_to_a_held_out_source_are_removed() -> None:
    near, far = "could not open the old file of the server", "the server has an old file to open"
    splits = {
        "train": [Pair(near, "eins"), Pair(far, "zwei")],
        "test": [Pair("could not open the old file of a server", "drei")],
    }
    left, dropped = without_leaks(splits, max_similarity=0.5)
    assert left == [Pair(far, "zwei")]
    assert dropped["similar_leak"] == 1


@settings(deadline=None)
@given(
    st.lists(st.lists(st.text("abж語", min_size=1, max_size=4), max_size=5).map(" ".join), min_size=1, max_size=12),
    st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.floats(0, 0.99)),
)
def test_similarity_is_the_jaccard_index_of_character_5_grams(texts: list[str], threshold: float) -> None:
    """A text that is shorter counts as one 5-gram."""
    grams = [{text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in texts]
    half = (len(texts) + 1) // 2
    expected = [max(len(a & b) / len(a | b) for b in grams[:half]) for a in grams]
    references = References(texts[:half], threshold)
    assert references.highest(texts).tolist() == pytest.approx(expected, abs=1e-9)
    assert references.are_similar(texts).tolist() == [value > threshold for value in references.highest(texts)]
