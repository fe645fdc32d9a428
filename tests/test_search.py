"""Beam search compared with brute force and with a textbook version; greedy search; independence of the batch."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.tokenizer import BOS, EOS, PAD, UNK
from pipeline.plumbing.params import ModelSettings
from pipeline.seq2seq.inference import Inference
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.search import Hypothesis, search

WORDS = (4, 5, 6)
V = 7
LIMIT = 4


def build(**kind: object) -> Seq2Seq:
    torch.manual_seed(3)
    sizes = {"embedding_size": 8, "hidden_size": 8, "dropout": 0.0}
    model = Seq2Seq(ModelSettings.model_validate(sizes | kind), V, V).double().eval()
    with torch.no_grad():  # larger weights make the probabilities less uniform
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def probability(model: Seq2Seq, source: torch.Tensor, ids: list[int]) -> float:
    """Return log p(ids | source), computed one token at a time."""
    encoder_output = model.encode(source, torch.tensor([source.shape[1]]))
    state, total = model.decoder.initial_state(encoder_output), 0.0
    for previous, wanted in zip([BOS, *ids], ids, strict=False):
        features, _, state = model.decode(torch.tensor([[previous]]), encoder_output, state)
        total += float(model.output(features)[0, -1].log_softmax(-1)[wanted].detach())
    return total


def brute_force(model: Seq2Seq, source: torch.Tensor, length_penalty: float) -> list[tuple[float, list[int]]]:
    """Return every translation of up to LIMIT tokens with its score: complete ones first, then by score."""
    ended = [[*words, EOS] for n in range(LIMIT) for words in itertools.product(WORDS, repeat=n)]
    cut = [list(words) for words in itertools.product(WORDS, repeat=LIMIT)]
    return [
        found
        for group in (ended, cut)
        for found in sorted(
            ((probability(model, source, ids) / len(ids) ** length_penalty, ids) for ids in group), reverse=True
        )
    ]


def plain_beam_search(
    model: Seq2Seq, source: list[int], beam_size: int, length_penalty: float, limit: int
) -> list[tuple[float, list[int]]]:
    """Beam search as in a textbook: one sentence, lists, float64, and each prefix scored from its beginning."""
    padded = torch.tensor([source])
    ended: list[tuple[float, list[int]]] = []
    still_open: list[tuple[float, list[int]]] = [(0.0, [])]  # log-probability, ids
    for length in range(1, limit + 1):
        longer = [[*ids, token] for _, ids in still_open for token in (*WORDS, EOS)]
        best = sorted(((probability(model, padded, ids), ids) for ids in longer), reverse=True)[:beam_size]
        scored = [(log_p / length**length_penalty, ids) for log_p, ids in best]
        ended = sorted([*ended, *(found for found in scored if found[1][-1] == EOS)], reverse=True)[:beam_size]
        still_open = [(log_p, ids) for log_p, ids in best if ids[-1] != EOS]
        cut = [(score, ids) for score, ids in scored if ids[-1] != EOS]
        if not cut or (len(ended) == beam_size and cut[0][0] <= ended[0][0]):
            return ended
    return [*ended, *cut][:beam_size]


def translate(model: Seq2Seq, sources: list[list[int]], beam_size: int, penalty: float = 1.0) -> list[list[Hypothesis]]:
    lengths = torch.tensor([len(s) for s in sources])
    padded = torch.tensor([s + [PAD] * (int(lengths.max()) - len(s)) for s in sources])
    limits = [LIMIT] * len(sources)
    return search(Inference(model), padded, lengths, beam_size, penalty, limits, beam_size)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    "kind", [{"cell": "lstm"}, {"cell": "gru", "decoder_layers": 2, "input_feeding": True}], ids=str
)
def test_a_very_wide_beam_equals_brute_force(kind: dict[str, object], length_penalty: float) -> None:
    model = build(**kind)
    expected = brute_force(model, torch.tensor([[4, 6, 5, EOS]]), length_penalty)
    (found,) = translate(model, [[4, 6, 5, EOS]], beam_size=200, penalty=length_penalty)
    assert [h.ids for h in found] == [ids for _, ids in expected]
    for hypothesis, (score, _) in zip(found, expected, strict=True):
        assert hypothesis.score == pytest.approx(score, abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(WORDS), max_size=4),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    st.integers(1, 6),
)
def test_the_search_equals_a_textbook_beam_search(words: list[int], beam_size: int, penalty: float, limit: int) -> None:
    model, source = build(), [*words, EOS]
    lengths = torch.tensor([len(source)])
    (found,) = search(Inference(model), torch.tensor([source]), lengths, beam_size, penalty, [limit], beam_size)
    expected = plain_beam_search(model, source, beam_size, penalty, limit)
    assert [h.ids for h in found] == [ids for _, ids in expected]
    assert [h.score for h in found] == pytest.approx([score for score, _ in expected], abs=1e-5)


def test_complete_hypotheses_rank_before_those_cut_off() -> None:
    """This holds even if the hypothesis that was cut off has a better score, which happens at least once here."""
    sources = [[*words, EOS] for words in itertools.product(WORDS, repeat=3)]
    likelier = 0
    for found in translate(build(), sources, beam_size=5):
        has_ended = [h.ids[-1] == EOS for h in found]
        assert has_ended == sorted(has_ended, reverse=True)
        likelier += any(has_ended) and max(found, key=lambda h: h.score).ids[-1] != EOS
    assert likelier > 0


def test_a_beam_of_one_takes_the_most_probable_token_in_each_step() -> None:
    model = build()
    source = torch.tensor([[5, 4, 4, EOS]])
    encoder_output = model.encode(source, torch.tensor([4]))
    state, previous = model.decoder.initial_state(encoder_output), BOS
    ids: list[int] = []
    while len(ids) < LIMIT and previous != EOS:
        features, _, state = model.decode(torch.tensor([[previous]]), encoder_output, state)
        logits = model.output(features)
        logits[0, -1, [PAD, UNK, BOS]] = float("-inf")
        previous = int(logits[0, -1].argmax())
        ids.append(previous)
    (found,) = translate(model, [source[0].tolist()], beam_size=1)
    assert [h.ids for h in found] == [ids]


def test_scores_are_the_models_and_a_wider_beam_finds_better_ones() -> None:
    """A search that continued the wrong hypotheses would report scores that the model does not give."""
    model = build()
    sources = [[*words, EOS] for words in itertools.product(WORDS, repeat=3)]
    for source, (best, *_) in zip(sources, translate(model, sources, beam_size=4), strict=True):
        assert best.log_probability == pytest.approx(probability(model, torch.tensor([source]), best.ids), abs=1e-5)
    beam, greedy = (sum(h[0].score for h in translate(model, sources, size, penalty=0.0)) for size in (4, 1))
    assert beam > greedy + 1e-3


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9), min_size=2, max_size=8),
    st.integers(1, 3),
    st.sampled_from(["general", "additive", "multihead", "none"]),
)
def test_a_sentences_translation_does_not_depend_on_its_batch(
    sentences: list[list[int]], beam_size: int, attention: str
) -> None:
    model = build(attention=attention)
    sources = [[*words, EOS] for words in sentences]
    together = translate(model, sources, beam_size)
    for source, found in zip(sources, together, strict=True):
        (alone,) = translate(model, [source], beam_size)
        assert [h.ids for h in found] == [h.ids for h in alone]
        for mine, theirs in zip(found, alone, strict=True):
            assert mine.score == pytest.approx(theirs.score, abs=1e-6)


def test_attention_has_a_row_for_each_token_and_none_for_padding() -> None:
    found = translate(build(), [[4, EOS], [4, 5, 6, 5, EOS]], beam_size=3)
    for hypothesis in found[0]:
        assert hypothesis.attention.shape == (len(hypothesis.ids), 5)
        assert (hypothesis.attention[:, 2:] == 0).all()
        assert hypothesis.attention.sum(axis=1) == pytest.approx(np.ones(len(hypothesis.ids)))
        assert hypothesis.attention.base is None  # a copy, not a view of the whole batch


def test_each_sentence_has_its_own_length_limit() -> None:
    model = build()
    source = torch.tensor([[4, 5, EOS], [6, 6, EOS]])
    found = search(Inference(model), source, torch.tensor([3, 3]), 3, 1.0, [1, 3], 3)
    assert max(len(h.ids) for h in found[0]) == 1
    assert 1 < max(len(h.ids) for h in found[1]) <= 3
    assert all(len(hypotheses) == 3 for hypotheses in found)
