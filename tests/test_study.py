"""The parts of a study, each compared with an obvious computation."""

import base64
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.data.tokenizer import EOS
from pipeline.plumbing.params import EvaluateSettings, ModelSettings
from pipeline.seq2seq.inference import Inference
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.search import search
from pipeline.study import beam, forcing, gradients, lengths, notebook, walk
from pipeline.study.members import Family, Member
from tests.test_model import build

V = 17
SETTINGS = ModelSettings(embedding_size=6, hidden_size=8)
WORDS = ["null", "unk", "bos", "</s>", *(f"▁w{i}" for i in range(4, V))]


class Tokens:
    """A tokenizer of words such as w5, whose ids are their numbers."""

    def encode_source(self, sentences: Sequence[str]) -> list[list[int]]:
        return [[*(int(word[1:]) for word in sentence.split()), EOS] for sentence in sentences]

    encode_target = encode_source

    def decode_target(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return [" ".join(WORDS[i].strip("▁") for i in row if i > EOS) for row in ids]

    def source_pieces(self, ids: Sequence[int]) -> list[str]:
        return [WORDS[i] for i in ids]

    target_pieces = source_pieces


SOURCES = ["w5 w6 w7", "w8 w4", "w9 w10 w11 w5", "w4"]
REFERENCES = ["w11 w12", "w13 w14 w15", "w4 w5 w6 w7", "w16"]


def member(**settings: object) -> Any:
    """Return a member with an untrained model, whose weights are larger than usual."""
    model = build(**{"encoder_layers": 1, "dropout": 0.3} | settings).float()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.5)
    tokenizer = Tokens()

    def translate(sentences: list[str], beam_size: int, length_penalty: float = 1.0) -> list[Any]:
        found = []
        for (ids,) in ([row] for row in tokenizer.encode_source(sentences)):
            limits = [2 * len(ids) + 10]
            ((best,),) = search(
                Inference(model), torch.tensor([ids]), torch.tensor([len(ids)]), beam_size, length_penalty, limits, 1
            )
            found.append(SimpleNamespace(text=tokenizer.decode_target([best.ids])[0], ids=best.ids))
        return found

    translator = SimpleNamespace(model=model, tokenizer=tokenizer, translate=translate, inference=Inference(model))
    return SimpleNamespace(
        name=str(settings), model=model, translator=translator, attends=settings.get("attention") != "none",
        search=EvaluateSettings(beam_size=3), settings=SETTINGS,
    )  # fmt: skip


def family(*members: Any) -> Any:
    return SimpleNamespace(
        sentences=(SOURCES, REFERENCES), target_language="de", members=members, attentive=members[0], test_set="test"
    )


def scored(words: float, bleu: float) -> lengths.LengthScore:
    score = lengths.Scored(bleu, bleu, bleu)
    return lengths.LengthScore("", words, 100, score, score)


def test_the_length_at_half_is_between_the_rows_around_it() -> None:
    rows = [scored(5, 40.0), scored(10, 30.0), scored(20, 10.0), scored(40, 0.0)]
    assert lengths.words_at_half(rows) == pytest.approx(15.0)
    assert lengths.words_at_half(rows[:2]) is None
    assert lengths.words_at_half([scored(words, 40.0) for words in (5, 10)]) is None
    assert lengths.words_at_half([scored(words, 0.0) for words in (5, 10)]) is None


def test_neighbouring_sentences_are_joined_and_none_twice() -> None:
    assert list(lengths._join(list("abcdefg"), 3)) == ["a b c", "d e f"]
    assert list(lengths._join(list("abc"), 1)) == ["a", "b", "c"]


def test_scores_by_length_are_those_of_the_sentences_of_this_length() -> None:
    texts = [" ".join(["wort"] * count) for count in (2, 3, 12, 14, 35)]
    found = SimpleNamespace(sentences=(texts, texts), target_language="de")
    wrong = [text if len(text) < 30 else "etwas ganz anderes" for text in texts]
    rows = lengths.by_length(found, wrong)  # type: ignore[arg-type]
    assert [(row.words, row.sentences, row.mean_words) for row in rows] == [
        ("1-4", 2, 2.5),
        ("10-19", 2, 13.0),
        ("30+", 1, 35.0),
    ]
    assert rows[0].chrf.value == 100
    assert rows[1].chrf.value < 50
    assert all(row.bleu.low <= row.bleu.value <= row.bleu.high for row in rows)


@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_an_encoder_that_runs_step_by_step_computes_the_same(cell: str, layers: int) -> None:
    model = build(cell=cell, encoder_layers=layers, residual=True)
    embedded = model.source_embedding(torch.tensor([[5, 6, 7, 8, EOS]]))
    states, outputs = gradients.unrolled(model, embedded)
    expected, _ = model.encoder(embedded, torch.tensor([5]))
    torch.testing.assert_close(outputs, expected)
    assert len(states) == 5


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("attention", ["none", "general"])
def test_the_gradient_by_a_state_is_how_the_loss_changes_with_it(cell: str, attention: str) -> None:
    """The reference moves each number of the state after step 1, and computes the loss of step 2 again."""
    model = build(cell=cell, attention=attention, encoder_layers=1)
    source, target = torch.tensor([5, 6, 7, 8, EOS]), torch.tensor([9, 10, EOS])
    losses, _, features = gradients.losses_of(model, source, target)
    own = torch.autograd.grad(losses[2], features, retain_graph=True)[0][0, 2].norm()
    total = 0.0
    for part, place in itertools.product(range(2 if cell == "lstm" else 1), range(4)):
        up, down = (loss_with_moved_state(model, source, target, part, place, shift) for shift in (1e-5, -1e-5))
        total += ((up - down) / 2e-5) ** 2
    norms = iter(gradients._norms(model, source, target))
    found = {(s, t): next(norms)[1] for t in range(len(target)) for s in range(len(source))}
    assert found[(1, 2)] == pytest.approx(math.sqrt(total) / float(own), rel=1e-4)


def loss_with_moved_state(
    model: Seq2Seq, source: torch.Tensor, target: torch.Tensor, part: int, place: int, shift: float
) -> float:
    """Return the loss of target step 2 after a number of the encoder's forward state was moved after step 1."""
    calls = itertools.count()

    def move(layer: torch.nn.Module, inputs: Any, outputs: Any) -> Any:
        if next(calls) != 1:
            return None
        states = [state.clone() for state in (outputs[1] if isinstance(outputs[1], tuple) else (outputs[1],))]
        states[part][0, 0, place] += shift
        return outputs[0], tuple(states) if len(states) > 1 else states[0]

    handle = model.encoder.forwards[0].register_forward_hook(move)
    try:
        return float(gradients.losses_of(model, source, target)[0][2].detach())
    finally:
        handle.remove()


def test_distances_count_the_steps_of_the_encoder_and_of_the_decoder() -> None:
    model = build(encoder_layers=1)
    found = gradients._norms(model, torch.tensor([5, 6, EOS]), torch.tensor([9, EOS]))
    assert [steps for steps, _ in found] == [2, 1, 0, 3, 2, 1]


def test_the_norm_through_a_known_recurrence() -> None:
    """With h' = tanh(0.5 h) at h = 0, each step halves a gradient."""
    layer = torch.nn.RNN(3, 4, batch_first=True)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.get_parameter("weight_hh_l0").copy_(0.5 * torch.eye(4))
    norms = gradients.through_recurrence(layer, torch.zeros(5, 7, 3))
    assert [norm.steps for norm in norms] == list(range(7))
    assert [norm.norm for norm in norms] == pytest.approx([0.5**n for n in range(7)])


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        ("abcd", "abcd", 1.0),
        ("abcd", "wxyz", 0.0),
        ("", "abcd", 0.0),
        # Precisions 3/4, 1/3, 0.1/2 and 0.1/1, and as long as the reference.
        ("abxd", "abcd", (3 / 4 * 1 / 3 * 0.1 / 2 * 0.1) ** 0.25),
        # Shorter than four letters: 3/3, 2/2, 1/1 and 0.1 of at least one.
        ("Ja.", "Ja.", 0.1**0.25),
        # All n-grams match, but two letters are missing.
        ("abcdef", "abcdefgh", math.exp(1 - 8 / 6)),
    ],
)
def test_the_notebooks_score_is_its_formula(hypothesis: str, reference: str, expected: float) -> None:
    assert notebook.letter_bleu(hypothesis, reference) == pytest.approx(expected)


def test_the_notebooks_score_has_dropout_on_and_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    one = member(dropout=0.5)
    found = family(one)
    first, second = (notebook.notebook_score(found, one) for _ in range(2))
    assert first == second
    assert not one.model.training
    monkeypatch.setattr(one.model, "train", lambda mode=True: one.model)  # the same without dropout
    assert notebook.notebook_score(found, one).own != first.own
    shifted = REFERENCES[1:] + REFERENCES[:1]
    assert first.unrelated == pytest.approx(sum(map(notebook.letter_bleu, shifted, REFERENCES)) / len(REFERENCES))


@pytest.mark.parametrize("settings", [{}, {"attention": "none"}, {"cell": "gru", "input_feeding": True}], ids=str)
@torch.no_grad()
def test_teacher_forcing_and_free_running_are_counted_token_by_token(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = member(**settings)
    monkeypatch.setattr(forcing, "CELLS", 25)  # batches of one and two pairs
    found = forcing.forcing(family(one), one)
    hits: dict[str, list[bool]] = {"forced": [], "free": []}
    losses: dict[str, list[float]] = {"forced": [], "free": []}
    after: list[tuple[int, bool, bool]] = []
    for source, target in zip(*map(Tokens().encode_source, (SOURCES, REFERENCES)), strict=True):
        right: dict[str, list[bool]] = {}
        for way in ("forced", "free"):
            output = one.model.encode(torch.tensor([source]), torch.tensor([len(source)]))
            state, read, right[way] = one.model.decoder.initial_state(output), 2, []
            for wanted in target:
                features, _, state = one.model.decode(torch.tensor([[read]]), output, state)
                log_p = one.model.output(features)[0, 0].log_softmax(-1)
                losses[way].append(-float(log_p[wanted]))
                best = 3 + int(log_p[3:].argmax())
                right[way].append(best == wanted)
                read = wanted if way == "forced" else best
            hits[way] += right[way]
        first = right["free"].index(False) if False in right["free"] else len(target)
        after += [(n - first, right["free"][n], right["forced"][n]) for n in range(first + 1, len(target))]
    for way, counted in (("forced", found.teacher_forced), ("free", found.free_running)):
        assert counted.accuracy == pytest.approx(sum(hits[way]) / len(hits[way]))
        assert counted.loss == pytest.approx(sum(losses[way]) / len(losses[way]), rel=1e-4)
    for distance, (own, taught) in enumerate(found.after_error, 1):
        rows = [(free, forced) for n, free, forced in after if n == distance]
        assert own == pytest.approx(sum(free for free, _ in rows) / len(rows))
        assert taught == pytest.approx(sum(forced for _, forced in rows) / len(rows))
    assert not one.model.training


ATTENTIONS = ["none", "dot", "general", "concat", "additive", "multihead"]


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_a_walk_shows_the_numbers_of_the_model(attention: str) -> None:
    one = member(attention=attention)
    found = walk.walk(one, SOURCES[2])
    (ids,) = [t.ids for t in one.translator.translate([SOURCES[2]], 1)]
    assert [step.piece for step in found.steps] == [WORDS[i] for i in ids]
    source = torch.tensor(Tokens().encode_source([SOURCES[2]]))
    output = one.model.encode(source, torch.tensor([source.shape[1]]))
    tokens = torch.tensor([[2, *ids[:-1]]])
    features, weights, _ = one.model.decode(tokens, output, one.model.decoder.initial_state(output))
    p = one.model.output(features)[0].softmax(-1)
    assert len(found.keys) == len(found.values) == output.keys.shape[1]
    for t, step in enumerate(found.steps):
        assert step.weights == pytest.approx(weights[0, t].tolist(), abs=1e-4)
        if attention != "multihead":
            assert torch.tensor(step.scores).softmax(0).tolist() == pytest.approx(step.weights, abs=2e-3)
        assert step.likeliest[0][0] == step.piece
        assert [share for _, share in step.likeliest] == sorted((share for _, share in step.likeliest), reverse=True)
        assert step.likeliest[0][1] == pytest.approx(float(p[t, ids[t]]), abs=1e-3)
        context = sum(w * numbers(value) for w, value in zip(step.weights, found.values, strict=True))
        if attention != "multihead":
            torch.testing.assert_close(context, numbers(step.context), rtol=0, atol=0.05)


def numbers(vector: walk.Vector) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(vector.numbers)), dtype=torch.int8) * vector.scale


def test_a_vector_is_stored_to_8_bits() -> None:
    vector = torch.randn(50)
    assert (numbers(walk.Vector.of(vector)) - vector).abs().max() <= vector.abs().max() / 250
    assert (numbers(walk.Vector.of(torch.zeros(3))) == 0).all()


@torch.no_grad()
def test_what_if_the_second_best_piece_is_taken() -> None:
    one = member()
    found = walk.walk(one, SOURCES[0])
    source = torch.tensor(Tokens().encode_source([SOURCES[0]]))
    ids = walk.greedy(one, source, [])
    for t, step in enumerate(found.steps):
        second = WORDS.index(step.likeliest[1][0])
        forced = walk.greedy(one, source, [*ids[:t], second])
        assert forced[: t + 1] == [*ids[:t], second]
        assert step.second == Tokens().decode_target([forced])[0]


def test_the_tree_has_every_hypothesis_of_the_search() -> None:
    one = member()
    for sentence in SOURCES:
        found = beam.tree(one, sentence)
        ids = one.translator.translate([sentence], 3)[0].ids
        assert [found.nodes[n].piece for n in found.best] == [WORDS[i] for i in ids]
        assert found.nodes[found.best[-1]].end == ("complete" if ids[-1] == EOS else "cut off")
        steps = Counter(node.step for node in found.nodes)
        assert steps[0] == 3
        assert max(steps.values()) <= 3
        for number, node in enumerate(found.nodes):
            children = [other for other in found.nodes if other.parent == number]
            assert bool(children) == (node.end == "")
            assert (node.end == "complete") == (node.piece == "</s>")
            if node.parent is not None:
                assert found.nodes[node.parent].step == node.step - 1
                assert node.log_p <= found.nodes[node.parent].log_p


def test_the_fixed_vectors_are_the_members_that_differ_in_size_only(tmp_path: Path) -> None:
    def named(name: str, **settings: object) -> Any:
        one = SimpleNamespace(name=name, settings=ModelSettings.model_validate(settings))
        one.attends = one.settings.attention != "none"
        return one

    members = [
        named("general"), named("fixed", attention="none"), named("gru", attention="none", cell="gru"),
        named("large", attention="none", hidden_size=1024), named("small", attention="none", hidden_size=64),
    ]  # fmt: skip
    found = Family(members)
    assert (found.attentive.name, found.fixed.name) == ("general", "fixed")
    assert [one.name for one in found.vectors] == ["small", "fixed", "large"]
    assert Member.__hash__ is object.__hash__
