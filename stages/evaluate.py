"""Translate every test set, score the model and two baselines, and draw charts. Runs in each of NPROC processes."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from pipeline.data.facts import CorpusFacts
from pipeline.data.languages import tokeniser_for
from pipeline.data.splits import read_split
from pipeline.plumbing.artifacts import write_json
from pipeline.plumbing.command import StageCall, expected_processes, run_stage
from pipeline.plumbing.params import EvaluateSettings
from pipeline.processes import join_processes, machine
from pipeline.registry.limits import CHARACTERS, PIECES, TOO_LONG
from pipeline.scoring.baselines import PAIRS, TranslationMemory
from pipeline.scoring.evaluation import Decoding, Evaluation, decode_split, evaluate_split
from pipeline.scoring.facts import EvaluationExecution, EvaluationFacts, Example, SystemName
from pipeline.scoring.pictures import draw_bleu_by_length, draw_heat_map
from pipeline.seq2seq.translator import Translator

WRITTEN: tuple[SystemName, ...] = ("beam", "greedy", "memory")  # the hypotheses of `copy` are the source
HEAT_MAP_TOKENS = range(5, 21)  # number of source pieces in a picture of attention


def evaluate(call: StageCall) -> None:
    settings = EvaluateSettings(**call.stamp["params"]["evaluate"])
    accelerator = join_processes("fp32", expected_processes())
    corpus = call.inputs["corpus"]
    facts = CorpusFacts.of(corpus)
    test_sets, language = facts.test_sets, facts.target_language
    translator = Translator.load(call.inputs["model"].directory, accelerator.device)

    if accelerator.is_main_process:
        for name in test_sets:
            _warn_of_long(name, read_split(corpus.path(f"{name}.parquet"))[0], translator)

    def decode(advance: Callable[[int], object]) -> list[Decoding]:
        paths = [corpus.path(f"{name}.parquet") for name in test_sets]
        return [decode_split(path, translator, settings, accelerator, advance) for path in paths]

    if not accelerator.is_main_process:
        decode(lambda count: None)
        return
    with call.publish() as draft:
        with tqdm(total=2 * sum(test_sets.values()), unit=" sentences", disable=None, desc="evaluate") as bar:
            decodings = decode(bar.update)
        memory = TranslationMemory(*read_split(corpus.path("train.parquet"), PAIRS))
        if (pairs := facts.splits["train"]) > PAIRS:
            print(f"evaluate: the translation memory has the first {PAIRS:,} of the {pairs:,} training pairs")
        evaluations = []
        for decoding in decodings:
            evaluations.append(evaluate_split(decoding, memory, language))
            _write_texts(draft.directory, evaluations[-1])
            _print_scores(evaluations[-1])
        _draw(draft.directory, evaluations, settings, tokeniser_for(language))
        draft.facts = EvaluationFacts(
            test_sets={e.name: e.scores for e in evaluations},
            signatures=evaluations[0].signatures,
            examples=_examples(evaluations, settings),
        )
        scores = draft.facts.model_dump(mode="json", include={"test_sets", "signatures"})
        write_json(draft.directory / "metrics.json", scores)
        draft.execution = EvaluationExecution(timing={e.name: e.timing for e in evaluations})
        draft.made_with["machine"] |= machine(accelerator)


def _warn_of_long(name: str, sources: list[str], translator: Translator) -> None:
    """Warn, before hours of decoding, of sentences that a review will leave out."""
    pieces = [len(source) - 1 for source in translator.tokenizer.encode_source(sources)]
    columns = enumerate(zip(sources, pieces, strict=True), start=1)
    if long := [line for line, (source, count) in columns if len(source) > CHARACTERS or count > PIECES]:
        print(
            f"evaluate: {name}: {len(long):,} of {len(sources):,} sentences, the first on line {long[0]}: {TOO_LONG}; "
            "reviews will leave them out; split them into sentences, on both sides",
            file=sys.stderr,
        )


def _write_texts(directory: Path, evaluation: Evaluation) -> None:
    texts = {"source": evaluation.sources, "reference": evaluation.references}
    texts |= {name: evaluation.hypotheses[name] for name in WRITTEN}
    for name, lines in texts.items():
        text = "".join(f"{line}\n" for line in lines)
        (directory / f"{evaluation.name}.{name}.txt").write_text(text, encoding="utf-8")


def _print_scores(evaluation: Evaluation) -> None:
    bleu = ", ".join(f"{name} {scores.bleu:.1f}" for name, scores in evaluation.scores.systems.items())
    print(f"evaluate: {evaluation.name}: {evaluation.scores.sentences:,} sentences, BLEU: {bleu}", file=sys.stderr)


def _examples(evaluations: list[Evaluation], settings: EvaluateSettings) -> list[Example]:
    triples = [
        Example(test_set=e.name, source=source, reference=reference, hypothesis=hypothesis)
        for e in evaluations
        for source, reference, hypothesis in zip(e.sources, e.references, e.hypotheses["beam"], strict=True)
    ]
    return random.Random(settings.seed).sample(triples, min(settings.examples, len(triples)))


def _draw(directory: Path, evaluations: list[Evaluation], settings: EvaluateSettings, tokeniser: str) -> None:
    draw_bleu_by_length(directory / "bleu_by_length.png", {e.name: e.scores.by_length for e in evaluations}, tokeniser)
    candidates = [
        (f"{e.name}.attention.{line}.png", source, translation, translation.attention)
        for e in evaluations
        for line, (source, translation) in enumerate(zip(e.sources, e.translations, strict=True), start=1)
        if translation.attention is not None and len(translation.source_tokens) - 1 in HEAT_MAP_TOKENS
    ]
    chosen = random.Random(settings.seed).sample(candidates, min(settings.heat_maps, len(candidates)))
    for name, title, translation, attention in chosen:
        draw_heat_map(directory / name, attention, translation.source_tokens, translation.tokens, title)


if __name__ == "__main__":
    run_stage(evaluate)
