"""The typed facts of an artifact: they are read as they were written; an error names a fact of the wrong type."""

import json
import re
from pathlib import Path

import pytest

from pipeline.data.facts import CorpusFacts, EncodedFacts, EncodedSplitFacts, SourceFacts
from pipeline.plumbing.artifacts import open_artifact, publish
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.facts import Facts
from pipeline.training.facts import ModelExecution
from tests.manifests import rewrite_manifest

COUNTS = EncodedSplitFacts(pairs=2, too_long=1, source_tokens=30, target_tokens=40)


def write(directory: Path, facts: Facts) -> None:
    with publish(directory, {}, {}) as draft:
        draft.facts = facts


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    facts = EncodedFacts(train=COUNTS, validation=COUNTS)
    write(tmp_path / "encoded", facts)
    assert EncodedFacts.of(open_artifact(tmp_path / "encoded", "encode")) == facts


def test_a_manifest_holds_no_field_that_is_not_known(tmp_path: Path) -> None:
    """Otherwise an optional field that a later version adds would change digests."""
    source = SourceFacts(name="a", licence="MIT", sha256="0", pairs=1)
    facts = CorpusFacts(source_language="en", target_language="de", splits={}, cut={}, dropped={}, sources=[source])
    write(tmp_path / "corpus", facts)
    stored = json.loads((tmp_path / "corpus/manifest.json").read_bytes())["facts"]["sources"]
    assert stored == [{"name": "a", "licence": "MIT", "sha256": "0", "pairs": 1}]


@pytest.mark.parametrize(
    ("facts", "mistake"),
    [
        ({}, "facts.train: Field required"),
        ({"train": COUNTS.model_dump() | {"pairs": "2"}}, "facts.train.pairs: Input should be a valid integer"),
        ({"train": None}, "facts.train: Input should be a valid dictionary"),
        (
            {"train": COUNTS.model_dump(), "validation": COUNTS.model_dump(), "test": {}},
            "facts.test: Extra inputs are not permitted",
        ),
    ],
)
def test_facts_that_do_not_fit_are_an_error_with_what_to_type(tmp_path: Path, facts: object, mistake: str) -> None:
    directory = tmp_path / "mine/encoded"
    write(directory, EncodedFacts(train=COUNTS, validation=COUNTS))
    rewrite_manifest(directory, facts=facts)
    with pytest.raises(UserError) as refusal:
        EncodedFacts.of(open_artifact(directory, "encode"))
    told = str(refusal.value)
    assert told.startswith(f"{directory}/manifest.json: {mistake}")
    assert told.endswith(f"remove {directory} and run: make encode EXP=mine")
    assert "\n" not in told


def test_an_execution_that_does_not_fit_is_an_error_too(tmp_path: Path) -> None:
    write(tmp_path / "mine/model", EncodedFacts(train=COUNTS, validation=COUNTS))
    with pytest.raises(UserError, match=re.escape("manifest.json: execution.seconds: Field required; another version")):
        ModelExecution.of(open_artifact(tmp_path / "mine/model", "train"))
