"""Make the artifacts of all stages before register, with a tiny untrained model, in a second."""

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.data.facts import CorpusFacts, SourceFacts
from pipeline.data.splits import read_split
from pipeline.data.tokenizer import JOINT, train_model
from pipeline.plumbing.artifacts import Artifact, open_artifact, publish
from pipeline.plumbing.params import ModelSettings, TokenizerSettings, TrainSettings
from pipeline.plumbing.tracking.journal import JOURNAL
from pipeline.plumbing.tracking.record import RECORD, TRAINING, read_record
from pipeline.plumbing.tracking.run import open_run
from pipeline.registry.card import CARD_SYSTEMS
from pipeline.scoring.baselines import TranslationMemory
from pipeline.scoring.facts import EvaluationFacts, Example, ScoredTestSet, SystemScores
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.translator import Translator, save_weights
from pipeline.training.facts import ModelExecution, ModelFacts

VOCABULARY = 290
SETTINGS = ModelSettings(embedding_size=8, hidden_size=8, tie_embeddings="all")
PARAMS: dict[str, Any] = {"beam_size": 2, "length_penalty": 1.0, "n_best": 0, "attention": False}
SENTENCES = ["open the file", "close | the `window`", "<b>save</b> the *new* image"]


def publish_corpus(directory: Path) -> Artifact:
    draw = random.Random(1)
    words = ["open", "close", "save", "delete", "the", "a", "new", "old", "file", "window", "image", "`x`", "<b>", "|"]
    pairs = [" ".join(draw.choices(words, k=draw.randint(3, 8))) for _ in range(60)]
    splits = {"train": pairs[:40], "validation": pairs[40:50], "test": pairs[50:]}
    with publish(directory, {}, {"params": {}}) as draft:
        for name, lines in splits.items():
            table = pa.table({"source": lines, "target": [line.upper() for line in lines]})
            pq.write_table(table, draft.directory / f"{name}.parquet")
        draft.facts = CorpusFacts(
            source_language="en",
            target_language="de",
            splits={name: len(lines) for name, lines in splits.items()},
            cut={},
            dropped={},
            sources=[
                SourceFacts(name=f"catalogue-{n}", version="1.0", licence="MIT", sha256="0" * 64, pairs=30 - n)
                for n in range(12)
            ],
        )
    return open_artifact(directory, "download")


def publish_training(build: Path, experiment: str = "default", seed: int = 1) -> None:
    """Make all inputs of register in `build`/`experiment`, and the run in the store that the environment names."""
    home = build / experiment
    corpus = publish_corpus(home / "corpus")
    settings = {"seed": seed}
    with open_run(build, experiment, home / TRAINING, training="first", settings=settings, datasets=[]) as run:
        for step in range(30):
            run.log({"train/loss": 1.0 / (step + 1)}, step)
    publish_evaluation(home / "evaluation", corpus, publish_model(home / "model", corpus, home / TRAINING, seed))


def publish_model(directory: Path, corpus: Artifact, training: Path, seed: int = 1) -> Artifact:
    """Publish a model with random weights and the record in `training`."""
    torch.manual_seed(seed)
    weights = {
        name: torch.randn_like(weight)  # larger than initial weights, so that translations differ
        for name, weight in Seq2Seq(SETTINGS, VOCABULARY, VOCABULARY).state_dict().items()
    }
    weights["output.weight"] = weights["target_embedding.weight"]  # tied, as SETTINGS say
    weights["source_embedding.weight"] = weights["target_embedding.weight"]
    weights["output.bias"][: 4 + 256] = -10.0  # no byte pieces: most of them decode to the same replacement character
    lines = pq.read_table(corpus.path("train.parquet"))["source"].to_pylist()
    settings = TokenizerSettings(vocabulary_size=VOCABULARY)
    stamp = {"params": {"model": SETTINGS.model_dump(), "train": TrainSettings().model_dump()}}
    with publish(directory, {"corpus": corpus}, stamp) as draft:
        save_weights(draft.directory, weights, SETTINGS, (VOCABULARY, VOCABULARY))
        (draft.directory / JOINT).write_bytes(train_model(lines, settings))
        for name in (RECORD, JOURNAL):
            shutil.copy(training / name, draft.directory)
        draft.facts = ModelFacts(
            validation_loss=3.25,
            validation_bleu=1.5,
            best_epoch=2,
            epochs=3,
            steps=30,
            parameters=sum(weight.numel() for weight in weights.values()),
            precision="fp32",
            skipped_steps=0,
        )
        draft.execution = ModelExecution(
            seconds=61.0,
            tokens_per_second=1234.5,
            processes=1,
            padding=0.1,
            imbalance=0.0,
            attempt=read_record(training).attempt,
        )
        draft.execution_files |= {RECORD, JOURNAL}
    return open_artifact(directory, "train")


def publish_evaluation(
    directory: Path,
    corpus: Artifact,
    model: Artifact,
    test_sets: Mapping[str, tuple[list[str], list[str]]] | None = None,
) -> Artifact:
    """Publish an evaluation. `test_sets`: name -> sources and references; None: those of the corpus."""
    decoding = {"beam_size": 2, "length_penalty": 1.0}
    translations = Translator.load(model.directory).translate(SENTENCES, beam_size=2, length_penalty=1.0)
    score = SystemScores(
        bleu=12.34,
        bleu_interval=(11.0, 13.5),
        chrf=45.6,
        chrf_interval=(44.0, 47.0),
        length_ratio=1.0,
        empty=0.0,
        copied=0.0,
    )
    with publish(directory, {"corpus": corpus, "model": model}, {"params": {"evaluate": decoding}}) as draft:
        (draft.directory / "metrics.json").write_text(score.model_dump_json(), encoding="utf-8")
        (draft.directory / "test.beam.txt").write_text("".join(f"{t.text}\n" for t in translations), encoding="utf-8")
        test_sets = test_sets or {"test": read_split(corpus.path("test.parquet"))}
        for name, (sources, references) in test_sets.items():
            memory = TranslationMemory(*read_split(corpus.path("train.parquet"))).translate(sources)
            for part, lines in {"source": sources, "reference": references, "memory": memory}.items():
                text = "".join(f"{line}\n" for line in lines)
                (draft.directory / f"{name}.{part}.txt").write_text(text, encoding="utf-8")
        draft.facts = EvaluationFacts(
            test_sets={
                name: ScoredTestSet(sentences=len(sources), systems=dict.fromkeys(CARD_SYSTEMS, score), by_length=[])
                for name, (sources, _) in test_sets.items()
            },
            signatures={"bleu": "nrefs:1|case:mixed", "chrf": "nrefs:1|nc:6"},
            examples=[
                Example(test_set="test", source=source, reference=source.upper(), hypothesis=translation.text)
                for source, translation in zip(SENTENCES, translations, strict=True)
            ],
        )
    return open_artifact(directory, "evaluate")
