"""Print a table of all experiments: BUILD_DIRECTORY"""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pipeline.data.facts import CorpusFacts
from pipeline.experiments.catalogue import DEFAULT, all_experiments, settings_files
from pipeline.experiments.garbage import experiment_directories
from pipeline.plumbing.artifacts import Artifact, read_manifest
from pipeline.plumbing.command import TARGETS, fail_clearly
from pipeline.plumbing.disk import size_of, told_size
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.facts import Facts
from pipeline.plumbing.params import DownloadSettings, Params
from pipeline.plumbing.params_file import read_params
from pipeline.plumbing.text_table import aligned
from pipeline.plumbing.tracking.record import flatten
from pipeline.scoring.facts import EvaluationFacts
from stages.stamp import bring_up_to_date
from stages.status import states_of

TABLE_HEAD = ("experiment", "data", "pairs", "test set", "BLEU", "chrF", "disk", "state")
# The settings that the column `data` shows:
DATA_COLUMN = (
    "download.source",
    "download.source_language",
    "download.target_language",
    "download.files",
    "download.hub",
)
SHARED = {"wheels": "downloads of packages", "hub": "downloads from the Hub", "mlartifacts": "MLflow's artifacts"}
WIDTH = 110  # of a line of settings, in characters

F = TypeVar("F", bound=Facts)
Row = tuple[str, str, str, str, str, str, str, str]


def experiments() -> None:
    build, root = Path(sys.argv[1]), Path()
    default = settings_of(read_params(settings_files(root, DEFAULT)))
    rows, settings = [TABLE_HEAD], [""]  # settings: the text below each row
    for name in all_experiments(root, build):
        for row, text in describe(build / name, settings_files(root, name), default):
            rows.append(row)
            settings.append(text)
    for line, text in zip(aligned(rows), settings, strict=True):
        print(line)
        if text:
            print(textwrap.fill(text, WIDTH, initial_indent="      ", subsequent_indent="      "))
    shared = {title: size_of(build / name) for name, title in SHARED.items() if (build / name).is_dir()}
    homes = experiment_directories(build)
    if equal := size_of(*homes) - sum(map(size_of, homes)):
        shared["equal data of several experiments"] = equal
    if shared:
        print(f"\nshared: {', '.join(f'{title} {told_size(size)}' for title, size in shared.items())}")


def describe(home: Path, files: list[Path], default: dict[str, str]) -> Iterator[tuple[Row, str]]:
    """Yield a row for each test set, with the text below it. The last has the settings that differ from `default`."""
    try:
        params = read_params(files)
        data, differing = data_of(params.download), differences(default, settings_of(params))
    except UserError as error:
        data, differing = "-", str(error).partition("\n")[0]
    corpus, scores = facts_of(CorpusFacts, home / "corpus"), scores_of(home) or [("-", "-", "-")]
    pairs = f"{corpus.splits['train']:,}" if corpus else "-"
    size = told_size(size_of(home)) if home.is_dir() else "-"
    first = (home.name, data, pairs, *scores[0], size, state_of(home, files))
    rows: list[Row] = [first, *(("", "", "", *score, "", "") for score in scores[1:])]
    yield from ((row, "") for row in rows[:-1])
    yield rows[-1], differing


def settings_of(params: Params) -> dict[str, str]:
    return flatten(params.model_dump(mode="json", by_alias=True))


def data_of(settings: DownloadSettings) -> str:
    """Return the name of the data and the languages, as in `bentrevett/multi30k en-de`."""
    source = settings.hub.dataset if settings.source == "hub" else settings.source
    return f"{source} {settings.source_language}-{settings.target_language}"


def differences(default: dict[str, str], settings: dict[str, str]) -> str:
    """Return differing settings, except those of the data: `tokenizer: vocabulary_size 6000; train: epochs 13`."""
    sections: dict[str, list[str]] = {}
    for key, value in settings.items():
        if default.get(key) != value and not any(key == part or key.startswith(f"{part}.") for part in DATA_COLUMN):
            section, _, name = key.removeprefix("download.").rpartition(".")
            sections.setdefault(section or "download", []).append(f"{name} {value}")
    return "; ".join(f"{section}: {', '.join(found)}" for section, found in sections.items())


def scores_of(home: Path) -> list[tuple[str, str, str]]:
    """Return the name, BLEU and chrF of each test set."""
    evaluation = facts_of(EvaluationFacts, home / "evaluation")
    scores = {name: found.systems["beam"] for name, found in evaluation.test_sets.items()} if evaluation else {}
    return [(name, f"{found.bleu:.1f}", f"{found.chrf:.1f}") for name, found in scores.items()]


def facts_of(kind: type[F], directory: Path) -> F | None:
    """Return the facts of an artifact; None if it does not exist, or if another version of this pipeline wrote it."""
    try:
        target = TARGETS[directory.name]
        return kind.of(Artifact(directory, read_manifest(directory, target), target))
    except UserError:
        return None


def state_of(home: Path, files: list[Path]) -> str:
    """Return a few words that say which stages ran, and whether their outputs are up to date."""
    if not any((home / name).exists() for name in (*TARGETS, "lock")):
        return "not begun"
    try:
        bring_up_to_date(home / "stamps", files)
    except UserError as error:
        return f"unknown: {str(error).partition(chr(10))[0]}"
    states = states_of(home)
    if running := [stage for stage, (state, _) in states.items() if state == "running"]:
        return f"{running[0]} is running: {states[running[0]][1][0]}"
    made = [stage for stage, (state, _) in states.items() if state == "fresh"]
    for stage, (state, _) in states.items():
        if state in ("stale", "damaged", "interrupted"):
            return f"{state} from {stage} on" if state == "stale" else f"{state} in {stage}"
    if len(made) == len(states):
        return "fresh"
    return f"fresh up to {made[-1]}" if made else "not begun"


if __name__ == "__main__":
    fail_clearly(experiments)
