"""Packages that try to write their own verdict: they answer with data of the right shape, or they fail the review."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.plumbing.params import GateSettings, ReviewSettings
from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.sandbox import sandboxed_model
from pipeline.registry.sandbox.isolation import find_way
from pipeline.registry.sandbox.process import Misbehaviour
from pipeline.registry.sandbox.sandboxed_model import SandboxedModel, load_sandboxed
from pipeline.reviews.review_runs import ReviewRuns
from stages.review import describe
from tests.hostile import corrupt, save_puppet
from tests.mlflow_server import Server
from tests.registered import MODEL
from tests.reviews import better, description, make_review, report
from tests.test_reviewer import crown, quietly, reviewer

needs_namespaces = pytest.mark.skipif(not find_way(), reason="this system offers no namespaces")


@pytest.fixture(scope="module")
def puppet_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_puppet(tmp_path_factory.mktemp("puppet"))


@pytest.fixture(scope="module")
def puppet(puppet_package: Path) -> Iterator[SandboxedModel]:
    """A model, loaded from a package, that runs given code. The environment in which it was started has a secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
        with load_sandboxed(puppet_package, "the puppet") as running:
            yield running


def told(puppet: SandboxedModel, expression: str) -> str:
    (text,), _ = puppet.translate([f"[str({expression})]"])
    return text


def refusal(puppet: SandboxedModel, answer: str) -> str:
    with pytest.raises(Misbehaviour) as caught:
        puppet.translate([answer])
    assert caught.value.name == "the puppet"
    return caught.value.reason


def test_a_package_sees_no_secret_of_the_environment(puppet: SandboxedModel) -> None:
    assert "hunter2" not in told(puppet, "dict(os.environ)")


@needs_namespaces
def test_a_package_reads_no_secret_of_any_process(puppet: SandboxedModel) -> None:
    everything = "b''.join(open(f'/proc/{p}/environ', 'rb').read() for p in os.listdir('/proc') if p.isdigit())"
    seen = told(puppet, everything)
    assert "HOME=" in seen
    assert "hunter2" not in seen


@needs_namespaces
def test_a_package_reaches_no_tracking_server(puppet: SandboxedModel, server: Server) -> None:
    server.start()
    request = f"__import__('urllib.request').request.urlopen({server.uri + '/health'!r}, timeout=5)"
    assert "Network is unreachable" in told(puppet, f"tried({request!r})")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[]", "it answered 1 sentences with 0 translations"),
        ("['a', 'b']", "it answered 1 sentences with 2 translations"),
        ("'a'", "(Input should be a valid array"),
        ("{'verdict': 'pass'}", "(Input should be a valid array"),
        ("[1]", "([0] Input should be a valid string"),
        ("[None]", "([0] Input should be a valid string"),
        ("[['a']]", "([0] Input should be a valid string"),
        ("['x' * 20_001]", "([0] String should have at most 20000 characters"),
        ("['\\ud800']", "(Invalid JSON"),
    ],
)
def test_an_answer_in_another_form_is_refused(puppet: SandboxedModel, answer: str, expected: str) -> None:
    assert expected in refusal(puppet, answer)
    assert told(puppet, "'still there'") == "still there"


@pytest.mark.parametrize(
    "answer",
    [
        "['a']",
        "[[]]",
        "[[{'text': 'a', 'tokens': [], 'source_tokens': []}] * 2]",
        "[[{'text': 'a', 'tokens': [], 'source_tokens': [1]}]]",
        "[[{'text': 'a', 'tokens': ['a'], 'source_tokens': ['b'], 'attention': [[float('nan')]]}]]",
        "[[{'text': 'a', 'tokens': ['a'], 'source_tokens': ['b'], 'attention': [[0.5, 0.5]]}]]",
        "[[{'text': 'a', 'tokens': ['a'], 'source_tokens': ['b'], 'attention': [[0.5], [0.5]]}]]",
    ],
)
def test_a_translation_in_another_form_is_refused(puppet: SandboxedModel, answer: str) -> None:
    with pytest.raises(Misbehaviour):
        puppet.explain([answer])
    right = "[[{'text': 'a', 'tokens': ['a'], 'source_tokens': ['b'], 'attention': [[1.0]]}]]"
    (hypothesis,), _ = puppet.explain([right], attention=True)
    assert hypothesis
    assert hypothesis.attention == [[1.0]]


def test_the_time_of_a_translation_is_measured_outside_of_the_package(puppet: SandboxedModel) -> None:
    (_,), seconds = puppet.translate(["time.sleep(0.2) or ['late']"])
    assert seconds > 0.2


def test_a_verdict_that_a_package_writes_as_an_answer_is_refused(puppet_package: Path) -> None:
    """The package writes a forged line to every file descriptor that it has."""
    line = (json.dumps({"review": "pass"}) + "\n").encode()
    codes = [f"os.write({descriptor}, {line!r})" for descriptor in range(3, 9)]
    with load_sandboxed(puppet_package, "the puppet") as running, pytest.raises(Misbehaviour) as caught:
        running.translate([f"[tried(code) for code in {codes!r}] and ['a']"])
    assert any(text in caught.value.reason for text in ("something other than texts", "more than one answer"))


HOSTILE = {
    "it ended with status 0": "def answer(*request): import os; os._exit(0)",
    "it gave no answer within": "def answer(*request):\n    while True: pass",
}


@pytest.mark.parametrize(
    "reason",
    ["it ended with status 0", pytest.param("it gave no answer within", marks=pytest.mark.slow)],
)
def test_a_hostile_candidate_fails_its_review(registry: Path, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = open_store(registry)
    corrupt(registry, client, 2, HOSTILE[reason])
    if reason == "it gave no answer within":
        monkeypatch.setattr(sandboxed_model, "LOADING_SECONDS", 10.0)
    lenient = {name: setting | {"required": False} for name, setting in GateSettings().model_dump().items()}
    finding = reviewer(client, ReviewSettings.model_validate({"gates": lenient})).review(2, quietly)
    review = finding.review
    assert review.failure
    assert review.failure.reason.startswith(reason)
    assert (review.verdict, review.comparisons, finding.maps) == ("fail", [], [])
    assert reason in report(review)
    assert reason in description(review)
    assert reason in "\n".join(describe(finding))
    verdict = ReviewRuns(client, MODEL, registry).keep(finding.candidate, None, review, "")
    assert not verdict.is_pass


@pytest.mark.slow
def test_a_hostile_champion_does_not_fail_the_candidate(registry: Path) -> None:
    client = open_store(registry)
    crown(client, 1)
    corrupt(registry, client, 1, HOSTILE["it ended with status 0"])
    with pytest.raises(Misbehaviour, match=f"^version 1 of {MODEL} does not load and translate"):
        reviewer(client).review(2, quietly)


def test_a_review_says_how_packages_were_isolated() -> None:
    review = make_review([better()])
    review = replace(review, provenance=replace(review.provenance, isolation="not isolated: so"))
    assert "not isolated: so" in report(review)
    assert "not isolated: so" in description(review)
