"""The commands on the registry: their variables, their messages and status, and what Make passes to them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.tracking.record import user_name
from pipeline.registry.sandbox import isolation
from pipeline.registry.versions import BLEU_TAG, VERDICT_TAG
from stages import promote, review, rollback, versions
from stages.answers import is_forced
from stages.registry import LONGEST_REASON, asked_reason, asked_version, open_registry
from tests.project import Project
from tests.registered import ANYTHING, MODEL, Registry, aliases

PROJECT = Path(__file__).parent.parent
PARAMS = str(PROJECT / "params.yaml")
DEMANDING = ANYTHING | {"chrf_drop": {"margin": -200.0, "level": 0.95, "required": True}}


@pytest.mark.parametrize(
    "text", ["0", "-1", "1.5", "1e3", "two", " 3", "3 ", "٣", "²", "0x1", "3000000000", "9" * 5000, "1; rm -r ."]
)
def test_a_version_that_is_no_positive_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("VERSION", text)
    with pytest.raises(UserError, match=r"^VERSION: got .*, expected the number of a version, as in: VERSION=3$"):
        asked_version()


@pytest.mark.parametrize(("text", "expected"), [("", None), ("3", 3), ("007", 7), ("999999999", 999_999_999)])
def test_a_version_is_read(monkeypatch: pytest.MonkeyPatch, text: str, expected: int | None) -> None:
    monkeypatch.setenv("VERSION", text)
    assert asked_version() == expected
    monkeypatch.delenv("VERSION")
    assert asked_version() is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "REASON is missing: say why"),
        (" \n\t\u00a0", "REASON is missing: say why"),
        ("red \x1b[31m", r"REASON: got the control character '\\x1b'"),
        ("a byte \udcff", r"REASON: got the control character '\\udcff'"),
        ("x" * (LONGEST_REASON + 1), "REASON: got 501 characters, expected at most 500"),
    ],
)
def test_an_empty_long_or_unreadable_reason_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    monkeypatch.setenv("REASON", text)
    with pytest.raises(UserError, match=f"^{told}"):
        asked_reason()


def test_a_reason_becomes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASON", "  better\n on\tlong texts 👩‍💻 ")
    assert asked_reason() == "better on long texts 👩‍💻"
    monkeypatch.delenv("REASON")
    with pytest.raises(UserError, match="^REASON is missing"):
        asked_reason()


@pytest.mark.parametrize("text", ["yes", "true", "2", " 1", "01"])
def test_force_is_1_or_nothing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FORCE", text)
    with pytest.raises(UserError, match=f"^FORCE: got '{text}', expected 1"):
        is_forced()
    for right, expected in (("", False), ("0", False), ("1", True)):
        monkeypatch.setenv("FORCE", right)
        assert is_forced() is expected


def test_a_decision_is_recorded_under_the_name_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "jane")
    assert user_name() == "jane"
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("LOGNAME", "joe")
    assert user_name() == "joe"
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # as in a container
    assert user_name() == "user 54321"


@pytest.fixture
def overlay(registry: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Makes the arguments of the commands, which work on the registry's three versions."""
    monkeypatch.chdir(registry.parent)
    for name in ("VERSION", "REASON", "FORCE"):
        monkeypatch.delenv(name, raising=False)

    def write(**settings: object) -> list[str]:
        Path("again.yaml").write_text(yaml.safe_dump({"review": settings}))
        arguments = [PARAMS, "again.yaml"]
        monkeypatch.setattr(sys, "argv", ["a stage", *arguments])
        return arguments

    return write


def test_the_registry_has_both_models_and_the_option_of_its_experiment(overlay: Callable[..., list[str]]) -> None:
    overlay(production_model="live {target_language}")
    opened = open_registry()
    assert (opened.models.candidates, opened.production, opened.models.option) == (MODEL, "live de", " EXP=again")
    assert opened.review_runs.experiment == "live de reviews"
    overlay()
    assert open_registry().production == MODEL


@pytest.mark.parametrize(
    ("stage", "asked", "told"),
    [
        (
            promote.promote,
            {"REASON": "x"},
            "error: VERSION is missing; make versions EXP=again lists them; type the number of one: "
            "make promote VERSION=number REASON=... EXP=again",
        ),
        (promote.promote, {"VERSION": "2"}, "error: REASON is missing"),
        (
            promote.promote,
            {"VERSION": "2", "REASON": "x"},
            f"error: version 2 of {MODEL} was not reviewed; run: make review",
        ),
        (promote.promote, {"VERSION": "2", "REASON": "x", "FORCE": "yes"}, "error: FORCE: got 'yes'"),
        (rollback.rollback, {}, "error: REASON is missing"),
        (
            rollback.rollback,
            {"REASON": "x"},
            f"error: no version of {MODEL} has been champion yet; run: make review VERSION=3 EXP=again",
        ),
        (review.review, {"VERSION": "9"}, f"error: {MODEL} has no version 9; the last are 1, 2, 3"),
        (review.review, {"VERSION": "x"}, "error: VERSION: got 'x'"),
    ],
)
def test_a_refused_command_prints_one_line_and_ends_with_status_2(
    overlay: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: Callable[[], None],
    asked: dict[str, str],
    told: str,
) -> None:
    overlay()
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        fail_clearly(stage)
    assert end.value.code == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "isolated: " not in line]
    assert said.startswith(told)


def test_a_promotion_warns_if_the_package_is_not_isolated(
    overlay: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay()
    monkeypatch.setenv("VERSION", "2")
    monkeypatch.setenv("REASON", "x")
    monkeypatch.setattr(isolation, "SEPARATE", ("--no-such-namespace",))
    isolation.obstacle.cache_clear()
    with pytest.raises(SystemExit):
        fail_clearly(promote.promote)
    isolation.obstacle.cache_clear()
    assert capsys.readouterr().err.startswith("not isolated: ")


def test_a_version_whose_tags_are_incomplete_is_listed(
    overlay: Callable[..., list[str]], registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay()
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    client.set_model_version_tag(MODEL, "2", VERDICT_TAG, "pass")  # by hand
    client.delete_model_version_tag(MODEL, "3", BLEU_TAG)
    versions.versions()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == MODEL
    assert lines[1].split() == [word for title in versions.COLUMNS for word in title.split()]
    assert [line.split()[:7] for line in lines[2:5]] == [
        ["3", "again", "-", "not", "reviewed", "-", "-"],
        ["2", "other", "-", "not", "reviewed", "12.3", "[11.0,"],
        ["1", "first", "-", "not", "reviewed", "12.3", "[11.0,"],
    ]
    assert lines[-1] == f"no version of {MODEL} has been champion yet"


@pytest.mark.slow
@pytest.mark.parametrize(("gates", "status"), [(ANYTHING, 0), (DEMANDING, 1)])
def test_a_review_ends_with_its_verdict(
    overlay: Callable[..., list[str]], gates: dict[str, object], status: int
) -> None:
    command = [sys.executable, "-m", "stages.review", *overlay(gates=gates)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    run = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert run.returncode == status, run.stdout + run.stderr
    # Ten sentences show nothing, so what must be shown is inconclusive; that is no pass.
    verdict = "inconclusive" if status else "pass"
    assert f"\nverdict: {verdict}. " in run.stdout
    page = f"http://127.0.0.1:5000/#/models/{MODEL}/versions/3?workflowType=machine_learning"
    assert f"\n  report   build/reviews/{MODEL}/3.html\n  version  {page}\n" in run.stdout
    assert run.stdout.splitlines()[-1].startswith(
        "  make review VERSION=3" if status else "  make promote VERSION=3 REASON="
    )
    assert Path(f"build/reviews/{MODEL}/3.html").read_text().startswith("<!doctype html>")


REASON = """it's "cheaper": $5, $HOME, $(shell touch pwned), `touch pwned`, 100 % & more; a \\ #1"""


@pytest.mark.slow
def test_make_passes_on_the_variables_as_typed(project: Project, registry: Path) -> None:
    (project.root / "experiments/again.yaml").write_text(yaml.safe_dump({"review": {"gates": ANYTHING}}))
    uri = os.environ["MLFLOW_TRACKING_URI"]
    client = MlflowClient(uri)

    def make(*arguments: str, **environment: str) -> str:
        run = project.make(*arguments, "EXP=again", MLFLOW_TRACKING_URI=uri, LOGNAME="jane", **environment)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    said = make("review", "VERSION=2")
    assert said.startswith(f"{MODEL} version 2 (experiment other) against the best baseline\n\nGates\n  ")
    assert "\n  test (10 sentences)  BLEU " in said
    assert "\nverdict: pass. " in said
    said = make("promote", "VERSION=2", f"REASON={REASON}")
    champion = f"version 2 of {MODEL} (experiment other) is the champion"
    assert said == f"{champion} now; to undo this: make rollback REASON=... EXP=again\n"
    make("promote", "VERSION=3", f"REASON={REASON}", "FORCE=1", VERSION="1", FORCE="no")  # the environment is not asked
    assert make("rollback", f"REASON={REASON}") == f"{champion} again\n"
    assert aliases(client) == {"champion": 2}
    table, record = make("versions").split("\n\n")
    assert [line.split()[:3] for line in table.splitlines()[2:]] == [
        ["3", "again", "-"],
        ["2", "other", "champion"],
        ["1", "first", "-"],
    ]
    assert "  2        other       champion  pass, against baselines  12.3 [11.0, 13.5]  " in table
    head, _, *told = record.splitlines()
    assert head == f"champions of {MODEL}"
    assert [line.split(maxsplit=1)[1] for line in told] == [
        f"rollback to 2         jane  {REASON}",
        f"promote to 3, forced  jane  {REASON}",
        f"promote to 2          jane  {REASON}",
    ]
    assert not (project.root / "pwned").exists()
    assert client.get_model_version(MODEL, "2").tags[VERDICT_TAG] == "pass against baselines"
    assert (project.root / f"build/reviews/{MODEL}/2.html").exists()


def test_the_table_of_versions_reads_the_review_runs_and_bears_edited_tags(
    overlay: Callable[..., list[str]], registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay()
    monkeypatch.setattr("stages.registry.BUILD", registry)
    it = Registry(registry)
    it.keep(1, None)
    it.client.set_model_version_tag(MODEL, "1", VERDICT_TAG, "fail")
    it.client.set_model_version_tag(MODEL, "2", VERDICT_TAG, "pass")
    it.client.set_model_version_tag(MODEL, "2", BLEU_TAG, "\x1b[2J" + "much " * 50)
    it.client.delete_model_version_tag(MODEL, "3", BLEU_TAG)
    third, second, first = versions.rows(open_registry(), MODEL)
    assert (first[3], second[3], third[3]) == ("pass, against baselines", "not reviewed", "not reviewed")
    assert (second[4], third[4]) == ("[2Jmuch much much much much much much mu", "-")
    experiment = it.client.get_experiment_by_name(f"{MODEL} reviews")
    assert experiment
    it.client.delete_experiment(experiment.experiment_id)
    assert versions.rows(open_registry(), MODEL)[2][3] == "reviews were deleted"
