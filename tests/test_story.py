"""Train, review, promote and roll back three models over HTTP, with the pipeline's commands on the toy language."""

import json
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from pipeline.registry.versions import VERDICT_TAG
from pipeline.reviews.promotion import PROMOTED
from pipeline.reviews.promotion_history import CHAMPION, PREVIOUS, PromotionHistory, replay
from pipeline.reviews.review_runs import ReviewRuns
from tests.mlflow_server import Server
from tests.project import Project
from tests.stores import store
from tests.toy_corpus import sentence_pairs, write_tsv

MODEL = "story"
SPLITS = {"validation": "build/story/validation.tsv", "test": "build/story/test.tsv"}
PAIRS = sentence_pairs(2400)
FILES = {"test": PAIRS[:100], "validation": PAIRS[100:200], "all": PAIRS[200:], "tenth": PAIRS[200:420]}


@pytest.fixture
def story(project: Project) -> Project:
    """A project with three experiments of one model: a, b (trained longer) and c (a tenth of the data)."""
    for name, pairs in FILES.items():
        write_tsv(project.root / f"build/story/{name}.tsv", pairs)
    smoke = yaml.safe_load((project.root / "experiments/smoke.yaml").read_text())
    smoke["register"]["model_name"] = MODEL
    del smoke["download"]["validation_pairs"], smoke["download"]["test_pairs"]  # the files bring both splits
    for name, train, epochs in (("a", "all", 9), ("b", "all", 16), ("c", "tenth", 16)):
        smoke["download"]["files"]["splits"] = SPLITS | {"train": f"build/story/{train}.tsv"}
        smoke["train"]["epochs"] = epochs
        (project.root / f"experiments/{name}.yaml").write_text(yaml.safe_dump(smoke))
    return project


def aliases() -> dict[str, int]:
    return {alias: int(v) for alias, v in store().get_registered_model(MODEL).aliases.items()}


@pytest.mark.slow
def test_a_is_promoted_then_b_c_fails_and_a_rollback_restores_a(story: Project, server: Server) -> None:
    server.start()

    def make(*arguments: str, status: int = 0) -> str:
        run = story.make(*arguments, MLFLOW_TRACKING_URI=server.uri)
        assert run.returncode == status, run.stdout + run.stderr
        return run.stdout + run.stderr

    make("register", "EXP=a")
    said = make("review", "EXP=a")
    assert "story version 1 (experiment a) against the best baseline" in said
    assert "verdict: pass. " in said
    make("promote", "EXP=a", "VERSION=1", "REASON=the first")
    assert aliases() == {CHAMPION: 1}

    make("register", "EXP=b")
    assert "was not reviewed; run: make review VERSION=2 EXP=b" in make(
        "promote", "EXP=b", "VERSION=2", "REASON=in a hurry", status=2
    )
    said = make("review", "EXP=b")
    assert "story version 2 (experiment b) against the champion, version 1" in said
    assert "verdict: pass. " in said
    make("promote", "EXP=b", "VERSION=2", "REASON=better")
    assert aliases() == {CHAMPION: 2, PREVIOUS: 1}

    make("register", "EXP=c")
    said = make("review", "EXP=c", status=2)
    assert "verdict: fail. " in said
    assert "[review] Error 1" in said or "Error 1" in said.splitlines()[-1]
    said = make("promote", "EXP=c", "VERSION=3", "REASON=it was so quick", status=2)
    assert "version 3 of story did not pass its review against version 2: fail (gates: bleu_drop, chrf_drop;" in said
    assert aliases() == {CHAMPION: 2, PREVIOUS: 1}

    assert "version 1 of story (experiment a) is the champion again" in make(
        "rollback", "EXP=a", "REASON=b is slow on phones"
    )
    assert aliases() == {CHAMPION: 1}

    client = store()
    versions = [client.get_model_version(MODEL, str(n)) for n in (1, 2, 3)]
    assert [v.tags[VERDICT_TAG] for v in versions] == [
        "pass against baselines",
        "pass against version 1",
        "fail against version 2 (bleu_drop, chrf_drop)",
    ]
    reasons = [v.tags.get(PROMOTED, ": none").partition(": ")[2] for v in versions]
    assert reasons == ["b is slow on phones", "better", "none"]
    assert all(len(str(v.description)) < 5000 and "## Model card" in str(v.description) for v in versions)
    history = PromotionHistory(client, MODEL)
    entries = history.entries()
    state, in_force = replay(entries)
    assert ([each.number for each in state.champions], state.settled, in_force) == ([1], True, {1, 2, 3})
    assert [(e.action, str(e.version), e.reason) for e in entries] == [
        ("promote", "1", "the first"),
        ("promote", "2", "better"),
        ("rollback", "1", "b is slow on phones"),
    ]
    told = make("versions", "EXP=a")
    for part in (
        "fail, against 2",
        "pass, against 1",
        "pass, against baselines",
        "rollback to 1",
        "b is slow on phones",
    ):
        assert part in told
    run_id = ReviewRuns(client, MODEL, story.root / "build").find(versions[2])[0].run_id
    review = json.loads(_artifact(client, run_id, "review.json", story.root))
    assert review["opponent"]["version"] == "2"
    assert review["leaks"]["counts"] == {"candidate": {"test": 0}, "opponent": {"test": 0}}
    assert "<html" in _artifact(client, run_id, "report.html", story.root)


def _artifact(client: MlflowClient, run_id: str, name: str, directory: Path) -> str:
    return Path(client.download_artifacts(run_id, name, str(directory))).read_text("utf-8")
