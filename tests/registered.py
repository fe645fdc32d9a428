"""A registry with three versions of the tiny untrained model. It is made once; each test copies it."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.data.splits import read_split
from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.params import GateSettings, RegisterSettings, ReviewSettings
from pipeline.plumbing.tracking.local_store import relocate
from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.package_record import RECORD_FILE, PackageRecord
from pipeline.registry.packaging import digests
from pipeline.registry.registration import Registration, evaluation_path
from pipeline.registry.versions import PACKAGE_TAG, VersionId, identify
from pipeline.reviews.gates import LOSSES
from pipeline.reviews.promotion import Promotion
from pipeline.reviews.promotion_history import PromotionHistory
from pipeline.reviews.registered_models import RegisteredModels
from pipeline.reviews.review import Review
from pipeline.reviews.review_runs import ReviewRuns
from pipeline.reviews.test_sets import read_test_sets
from pipeline.reviews.version_files import VersionFiles
from tests.published import publish_evaluation, publish_training
from tests.reviews import better, make_review

MODEL = "translator-en-de"
SEEDS = {"first": 1, "other": 2, "again": 1}  # experiment -> seed of its weights; each becomes a version, 1 to 3

# An untrained model repeats itself, and its speed varies. These gates accept that.
ANYTHING = {
    name: {**setting, "threshold": {"latency_ratio": 1e6}.get(name, 1.0)}
    for name, setting in GateSettings().model_dump().items()
    if name not in (*LOSSES, "size_ratio", "leak")
} | {name: {"margin": 100.0, "level": 0.95, "required": False} for name in LOSSES}  # ten sentences are too few
DEFAULT = ReviewSettings()
LENIENT = ReviewSettings.model_validate({"gates": ANYTHING})

# Reviews with the verdict that a test needs.
PASS = make_review([better()])
FAIL = make_review([better()], settings={"gates": {"bleu_drop": {"margin": -100.0, "level": 0.95, "required": True}}})


def register_versions(build: Path) -> None:
    """Register versions 1 to 3 of MODEL in the store that the environment names; their artifacts are in `build`."""
    client = open_store(build)
    for experiment, seed in SEEDS.items():
        publish_training(build, experiment, seed)
        inputs = {name: open_artifact(build / experiment / name, name) for name in ("corpus", "model", "evaluation")}
        registration = Registration(client, RegisterSettings(), **inputs)
        registration.complete_run()
        registration.version(registration.log_model())


def copy_store(build: Path, target: Path) -> None:
    """Copy a SQLite store and its artifacts."""
    shutil.copytree(build / "mlartifacts", target / "mlartifacts")
    shutil.copyfile(build / "mlflow.db", target / "mlflow.db")
    relocate(target)


def package_of(build: Path, client: MlflowClient, version: int) -> Path:
    """Return the directory in which the store keeps a version's files."""
    source = client.get_model_version(MODEL, str(version)).source or ""
    (found,) = (build / "mlartifacts").glob(f"*/models/{source.removeprefix('models:/')}/artifacts")
    return found


def rewrite_record(build: Path, client: MlflowClient, version: int, **changes: Any) -> None:
    """Change the record of a version's package, and its tag, as if the version had been registered with this record."""
    package = package_of(build, client, version)
    record = PackageRecord.model_validate_json((package / RECORD_FILE).read_bytes())
    digest = record.model_copy(update=changes).write(package)
    client.set_model_version_tag(MODEL, str(version), PACKAGE_TAG, digest)


def record_files(build: Path, client: MlflowClient, version: int) -> None:
    """Record the files that a version has now, as if it had been registered with them."""
    found = digests(package_of(build, client, version))
    del found[RECORD_FILE]
    rewrite_record(build, client, version, files=found)


def get(client: MlflowClient, version: int, model: str = MODEL) -> ModelVersion:
    return client.get_model_version(model, str(version))


def aliases(client: MlflowClient, model: str = MODEL) -> dict[str, int]:
    return {alias: int(version) for alias, version in client.get_registered_model(model).aliases.items()}


def evaluate_otherwise(
    client: MlflowClient, build: Path, versions: Path, references: Sequence[str] | None = None
) -> None:
    """Give version 2 a test set of its own: the same sources with other references."""
    corpus, model = (open_artifact(versions / "other" / name, name) for name in ("corpus", "model"))
    sources, _ = read_split(corpus.path("test.parquet"))
    evaluation = publish_evaluation(
        build / "otherwise", corpus, model, {"test": (sources, list(references or sources))}
    )
    (stored,) = build.glob(f"mlartifacts/*/{get(client, 2).run_id}/artifacts")
    shutil.copytree(build / "otherwise", stored / evaluation_path(evaluation.digest))
    rewrite_record(build, client, 2, evaluation=evaluation.digest)


class Registry:
    """The three versions, with the operations that tests need."""

    def __init__(self, build: Path) -> None:
        self.build, self.client = build, open_store(build)

    def models(self, production: str = MODEL, experiment: str = "other") -> RegisteredModels:
        return RegisteredModels(self.client, MODEL, production, experiment)

    def decision(
        self,
        reason: str = "because",
        forced: bool = False,
        production: str = MODEL,
        settings: ReviewSettings = DEFAULT,
    ) -> Promotion:
        review_runs = ReviewRuns(self.client, production, self.build)
        return Promotion(self.models(production), settings, review_runs, "jane", reason, forced)

    def history(self, production: str = MODEL) -> PromotionHistory:
        return PromotionHistory(self.client, production)

    def identity(self, version: int, model: str = MODEL) -> VersionId:
        return identify(get(self.client, version, model))

    def crown(self, *versions: int) -> None:
        """Make versions the champion, one after another, without a review."""
        for version in map(self.identity, versions):
            entry = self.history().append("promote", version, self.history().state(), "ann", "it was so", forced=False)
            self.history().set_aliases()
            self.history().settle(entry)

    def keep(
        self,
        version: int,
        against: int | None,
        review: Review = PASS,
        production: str = MODEL,
        settings: ReviewSettings = DEFAULT,
    ) -> None:
        """Store a review of a version. `against`: the champion's number; None: the baselines."""
        candidate = get(self.client, version)
        champion = get(self.client, against, production) if against else None
        with tempfile.TemporaryDirectory() as scratch:
            ours = VersionFiles(self.client, candidate, Path(scratch) / "candidate")
            theirs = VersionFiles(self.client, champion, Path(scratch) / "champion").evaluation if champion else None
            read = read_test_sets(ours.evaluation, theirs, settings, ours.languages)
        made = replace(review.provenance, test_sets={test_set.name: test_set.digest for test_set in read})
        ReviewRuns(self.client, production, self.build).keep(candidate, champion, replace(review, provenance=made), "")

    def break_code(self, version: int) -> None:
        """Change the stored code of a version so that it raises an error."""
        code = package_of(self.build, self.client, version) / "artifacts/code/registry/request.py"
        code.write_text(f"{code.read_text()}\n\ndef answer(*arguments):\n    raise RuntimeError('out of order')\n")
