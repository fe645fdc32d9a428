"""The translation memory: similarity by its definition, ties, short sentences, combining marks."""

import math
import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scoring import baselines
from pipeline.scoring.baselines import TranslationMemory

# Few words in many orders, so that n-grams of every length matter in some examples.
TEXT = (
    st.lists(st.sampled_from(["ab", "Ab", "b", "ca", "bab"]), min_size=1, max_size=8).map("  ".join).map(" {} ".format)
)


def characters(text: str) -> Counter[str]:
    text = re.sub(r"\s+", " ", text)
    return Counter(text[i : i + n] for n in range(2, 6) for i in range(len(text) - n + 1))


def words(text: str) -> Counter[str]:
    found = text.split()
    return Counter(" ".join(found[i : i + n]) for n in range(1, 4) for i in range(len(found) - n + 1))


def cosines(sources: list[str], query: str, count: Callable[[str], Counter[str]]) -> list[float]:
    """Return the cosine of the query with each source, from the definition of TF-IDF with smoothed frequencies."""
    documents = [count(source) for source in sources]
    frequency = Counter(gram for document in documents for gram in document)

    def vector(document: Counter[str]) -> dict[str, float]:
        weights = {
            gram: number * (math.log((1 + len(sources)) / (1 + frequency[gram])) + 1)
            for gram, number in document.items()
            if gram in frequency
        }
        length = math.sqrt(sum(weight**2 for weight in weights.values())) or 1.0
        return {gram: weight / length for gram, weight in weights.items()}

    wanted = vector(count(query))
    return [sum(wanted.get(gram, 0.0) * weight for gram, weight in vector(d).items()) for d in documents]


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=12), st.lists(TEXT, min_size=1, max_size=4))
def test_the_memory_finds_the_source_with_the_highest_similarity(sources: list[str], queries: list[str]) -> None:
    targets = [str(i) for i in range(len(sources))]
    for query, target in zip(queries, TranslationMemory(sources, targets).translate(queries), strict=True):
        both = zip(cosines(sources, query, characters), cosines(sources, query, words), strict=True)
        similarities = [sum(pair) for pair in both]
        best = int(target)
        assert similarities[best] >= max(similarities) - 2e-5
        assert sources.index(sources[best]) == best  # of equal sources, the first


def test_a_sentence_seen_in_training_gets_its_own_target() -> None:
    sources = ["Turn on the light", "Turn off the light", "Open the door"]
    memory = TranslationMemory(sources, ["an", "aus", "auf"])
    assert memory.translate(sources) == ["an", "aus", "auf"]


def test_a_near_match_wins_over_a_sentence_with_common_words() -> None:
    memory = TranslationMemory(["the of and the in the", "Delete the selected automations"], ["no", "yes"])
    assert memory.translate(["Delete the selected automation"]) == ["yes"]


def test_equally_similar_sources_give_the_first_in_the_training_data() -> None:
    memory = TranslationMemory(["xyxy", "Open it", "Open it"], ["other", "first", "second"])
    assert memory.translate(["Open it", "Open"]) == ["first", "first"]


def test_a_sentence_similar_to_none_gets_the_first_target() -> None:
    assert TranslationMemory(["abc", "def"], ["first", "second"]).translate(["0123", ""]) == ["first", "first"]


@pytest.mark.parametrize("sources", [["a", "b"], ["", " "], ["好", "!"]])
def test_equal_sources_are_found_even_if_shorter_than_an_n_gram(sources: list[str]) -> None:
    memory = TranslationMemory(sources, ["first", "second"])
    assert memory.translate([*sources, "something else"]) == ["first", "second", "first"]


def test_words_that_differ_in_a_combining_mark_are_different_words() -> None:
    memory = TranslationMemory(["दाल में", "दिल में"], ["lentils", "heart"])
    assert memory.translate(["दिल में", "दाल में"]) == ["heart", "lentils"]
    assert baselines.TOKEN.findall("दिल, हाँ!") == ["दिल", ",", "हाँ", "!"]


def test_the_chunk_size_changes_no_translation(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [f"sentence number {i} of {i * i}" for i in range(50)]
    memory = TranslationMemory(sources, sources)
    queries = [f"number {i} of" for i in range(30)]
    whole = memory.translate(queries)
    monkeypatch.setattr(baselines, "CELLS", 150)  # three queries at a time
    assert memory.translate(queries) == whole
    monkeypatch.setattr(baselines, "CELLS", 1)
    assert memory.translate(queries) == whole
