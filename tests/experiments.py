"""Experiments with scores but without a model: real artifacts with little in them, made in milliseconds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pipeline.data.facts import CorpusFacts, EncodedFacts, EncodedSplitFacts, SourceFacts, TokenizerFacts
from pipeline.plumbing.artifacts import Artifact, open_artifact, publish
from pipeline.plumbing.command import TARGETS
from pipeline.plumbing.facts import Facts
from pipeline.plumbing.tracking.record import RECORD, Record
from pipeline.scoring.facts import EvaluationExecution, EvaluationFacts, ScoredTestSet, SystemName, Timing
from pipeline.scoring.metrics import Scorer
from pipeline.training.facts import ModelExecution, ModelFacts

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
SOURCES = [f"{NUMBERS[n // 10]} dogs and {NUMBERS[n % 10]} cats saw the house" for n in range(100)]
REFERENCES = [f"{NUMBERS[n // 10]} hunde und {NUMBERS[n % 10]} katzen sahen das haus" for n in range(100)]
GOOD = REFERENCES
FAIR = [text.replace("sahen das", "sehen ein") if n % 3 else text for n, text in enumerate(REFERENCES)]


def publish_evaluated(
    build: Path,
    name: str,
    hypotheses: Sequence[str] = GOOD,
    test_sets: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None,
    **settings: Mapping[str, Any],
) -> Path:
    """Publish all stages up to evaluate in `build`/`name`; each test set has the sources and references given.

    `settings` are of the sections model, train and evaluate. Returns the experiment's directory.
    """
    home = build / name
    test_sets = test_sets or {"test": (SOURCES, REFERENCES)}
    splits = {"train": 1000, "validation": 50, **{test_set: len(text[0]) for test_set, text in test_sets.items()}}
    source = SourceFacts(name="toy", licence="MIT", sha256="0" * 64, pairs=1000)
    facts = CorpusFacts(source_language="en", target_language="de", splits=splits, cut={}, dropped={}, sources=[source])
    corpus = _publish(home / "corpus", {}, {"download": {"source": "files", "seed": 1}}, facts)
    skipped = TokenizerFacts(vocabulary_size=300, skipped={})
    tokenizer = _publish(home / "tokenizer", {"corpus": corpus}, {"tokenizer": {"vocabulary_size": 300}}, skipped)
    counts = EncodedSplitFacts(pairs=1000, too_long=0, source_tokens=8000, target_tokens=8000)
    both = EncodedFacts(train=counts, validation=counts)
    encoded = _publish(
        home / "encoded", {"corpus": corpus, "tokenizer": tokenizer}, {"encode": {"max_tokens": 9}}, both
    )
    inputs = {"corpus": corpus, "tokenizer": tokenizer, "encoded": encoded}
    params = {"model": {"cell": "lstm", **settings.get("model", {})}, "train": {"seed": 1, **settings.get("train", {})}}
    with publish(home / "model", inputs, {"params": params, "code": {}}) as draft:
        Record("a" * 32, "t", name, 1, "f" * 40, {}, []).write(draft.directory)
        draft.execution_files.add(RECORD)
        (draft.directory / "weights").write_text(str(params), encoding="utf-8")  # other settings, another model
        draft.facts = ModelFacts(
            validation_loss=1.0,
            validation_bleu=9.0,
            best_epoch=2,
            epochs=3,
            steps=30,
            parameters=1234567,
            precision="fp32",
            skipped_steps=0,
        )
        draft.execution = ModelExecution(
            seconds=90.0, tokens_per_second=4321.0, processes=1, padding=0.1, imbalance=0.0, attempt="a" * 32
        )
        draft.made_with["machine"] = {"processor": "x86", "device": "cpu"}
    model = open_artifact(home / "model", "train")
    evaluate = {"evaluate": {"beam_size": 5, **settings.get("evaluate", {})}}
    with publish(home / "evaluation", {"corpus": corpus, "model": model}, {"params": evaluate, "code": {}}) as draft:
        scored = {}
        for test_set, (sources, references) in test_sets.items():
            texts = {"source": sources, "reference": references, "beam": hypotheses[: len(sources)]}
            for part, lines in texts.items():
                text = "".join(f"{line}\n" for line in lines)
                (draft.directory / f"{test_set}.{part}.txt").write_text(text, encoding="utf-8")
            scores = Scorer(sources, references, "de").score(texts["beam"])
            systems = dict.fromkeys(get_args(SystemName), scores)
            scored[test_set] = ScoredTestSet(sentences=len(sources), systems=systems, by_length=[])
        draft.facts = EvaluationFacts(test_sets=scored, signatures={}, examples=[])
        timing = {test_set: {"beam": Timing(seconds=2.0, sentences_per_second=50.0)} for test_set in test_sets}
        draft.execution = EvaluationExecution.model_validate({"timing": timing})
    return home


def _publish(directory: Path, inputs: Mapping[str, Artifact], params: Mapping[str, Any], facts: Facts) -> Artifact:
    with publish(directory, inputs, {"params": params, "code": {}}) as draft:
        draft.facts = facts
    return open_artifact(directory, TARGETS[directory.name])
