"""Splitting: no sentence, and no variant of it, is both in the training split and in a held-out split."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.data import characters
from pipeline.data.cleaning import PLACEHOLDER, Pair
from pipeline.data.languages import words_only
from pipeline.data.similarity import highest_similarities
from pipeline.data.splitting import cut, keys, source_keys, without_duplicates, without_leaks
from pipeline.plumbing.errors import UserError

WORDS = st.sampled_from(["dog", "Dog", "cat", "dog!", "{name}", "7"])
PAIRS = st.lists(
    st.builds(Pair, st.lists(WORDS, min_size=1, max_size=3).map(" ".join), st.text("ab", min_size=1, max_size=2)),
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
        small.setattr(characters, "BATCH", 3)
        assert keys(texts) == [words_only(PLACEHOLDER.sub(" ", text)) or text for text in texts]


def test_different_sentences_have_different_keys() -> None:
    assert len(set(keys(["The dog sleeps.", "The dogs sleep.", "dog the sleeps", "7", "8", "..."]))) == 6


@given(PAIRS, st.integers(0, 3))
def test_a_cut_splits_the_keys_and_keeps_one_pair_for_each_held_out_key(pairs: list[Pair], seed: int) -> None:
    different = set(source_keys(pairs))
    sizes = {"validation": 1, "test": 2}
    if len(different) <= 3:
        with pytest.raises(UserError, match=f"{len(different)} different"):
            cut(pairs, sizes, seed)
        return
    splits = cut(pairs, sizes, seed)
    found = {name: source_keys(kept) for name, kept in splits.items()}
    assert [len(found[name]) for name in sizes] == [1, 2]
    assert len({*found["validation"], *found["test"]}) == 3
    assert different == {*found["train"], *found["validation"], *found["test"]}
    assert not {*found["train"]} & {*found["validation"], *found["test"]}
    assert len(splits["train"]) == sum(key in found["train"] for key in source_keys(pairs))


def test_a_cut_depends_on_the_seed_but_not_on_the_order() -> None:
    pairs = [Pair(f"{chr(97 + i)} dog", "Hund") for i in range(26)]
    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert cut(pairs, {"test": 5}, 1)["test"] == cut(shuffled, {"test": 5}, 1)["test"]
    assert cut(pairs, {"test": 5}, 1)["test"] != cut(pairs, {"test": 5}, 2)["test"]


def test_repeated_pairs_are_removed_but_second_translations_are_kept() -> None:
    pairs = [Pair("dog", "Hund", 0), Pair("dog", "Köter", 0), Pair("dog", "Hund", 1)]
    assert without_duplicates(pairs) == pairs[:2]


def test_leaks_are_removed_from_the_training_split_only() -> None:
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
    assert left == {**splits, "train": splits["train"][2:]}
    assert dropped == {"source_leak": 1, "target_leak": 1}


def test_in_languages_without_spaces_a_target_of_few_letters_is_no_leak() -> None:
    test = [Pair("Settings here", "设置"), Pair("The dog sleeps", "老狗在睡觉。")]
    train = [Pair("Some settings", "设置"), Pair("A dog is asleep", "老狗，在睡觉")]
    left, dropped = without_leaks({"train": train, "test": test}, max_similarity=1.0)
    assert (left["train"], dropped["target_leak"]) == (train[:1], 1)


def test_words_that_differ_in_a_combining_mark_are_no_leak() -> None:
    test = [Pair("घर में दाल है", "eins"), Pair("ฉันซื้อเสื้อ", "zwei")]
    train = [Pair("घर में दिल है", "drei"), Pair("ฉันซื้อเสือ", "vier")]
    left, dropped = without_leaks({"train": train, "test": test}, max_similarity=1.0)
    assert (left["train"], dropped.total()) == (train, 0)


@pytest.mark.parametrize("held_out", ["ja", "你好", "7", ""])
def test_sources_shorter_than_an_n_gram_are_similar_only_to_themselves(held_out: str) -> None:
    train = [Pair("no", "nein"), Pair("这个世界很大很大", "x"), Pair("jaja", "jaja")]
    splits = {"train": train, "test": [Pair(held_out, "wohl")]}
    left, dropped = without_leaks(splits, max_similarity=0.5)
    assert (left["train"], dropped["similar_leak"]) == (train, 0)
    assert list(highest_similarities([held_out, "no"], [held_out])) == [1.0, 0.0]


def test_training_sources_too_similar_to_a_held_out_source_are_removed() -> None:
    near, far = "could not open the old file of the server", "the server has an old file to open"
    splits = {
        "train": [Pair(near, "eins"), Pair(far, "zwei")],
        "test": [Pair("could not open the old file of a server", "drei")],
    }
    left, dropped = without_leaks(splits, max_similarity=0.5)
    assert left["train"] == [Pair(far, "zwei")]
    assert dropped["similar_leak"] == 1


@given(st.lists(st.text("abcж語 ", max_size=12), min_size=1, max_size=8))
def test_similarity_is_the_jaccard_index_of_character_5_grams(texts: list[str]) -> None:
    """A text that is shorter counts as one 5-gram."""
    grams = [{text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in texts]
    half = (len(texts) + 1) // 2
    expected = [max(len(a & b) / len(a | b) for b in grams[:half]) for a in grams]
    assert list(highest_similarities(texts, texts[:half])) == pytest.approx(expected, abs=1e-6)
