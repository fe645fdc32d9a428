"""Stages check their inputs, lock their experiment, and end with a clear message if they fail."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.plumbing.artifacts import open_artifact, publish
from pipeline.plumbing.command import _check_origins, _read_call
from pipeline.plumbing.errors import UserError
from tests.mlflow_server import unused_port
from tests.project import DIRECTORIES, ROOT, Finished, Project


@pytest.mark.parametrize(
    ("stage", "file", "harm"),
    [
        ("encode", "corpus/train.parquet", "flip"),
        pytest.param("train", "encoded/validation.arrow", "cut", marks=pytest.mark.slow),
        pytest.param("train", "encoded/train-*.arrow", "flip", marks=pytest.mark.slow),
        pytest.param("train", "tokenizer/joint.model", "flip", marks=pytest.mark.slow),
        pytest.param("evaluate", "model/weights.safetensors", "flip", marks=pytest.mark.slow),
        ("register", "evaluation/metrics.json", "remove"),
        ("translate", "model/weights.safetensors", "cut"),
    ],
)
def test_a_damaged_file_is_an_error_with_the_command_that_makes_it_again(
    finished: Finished, tmp_path: Path, stage: str, file: str, harm: str
) -> None:
    project = finished.copy_to(tmp_path)
    (path,) = project.build.glob(file)
    data = path.read_bytes()
    middle = len(data) // 2
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:middle] + (bytes([data[middle] ^ 1]) + data[middle + 1 :] if harm == "flip" else b""))
    if stage != "translate":
        shutil.rmtree(project.build / DIRECTORIES[stage])
    run = project.make(stage, TEXT="x")
    assert run.returncode == 2
    directory = f"build/smoke/{file.partition('/')[0]}"
    assert re.search(
        rf"error: build/smoke/{path.relative_to(project.build)} .*; remove {directory} and run: make \w+ EXP=smoke",
        run.stderr,
    )
    assert "Traceback" not in run.stderr


def test_an_input_made_from_another_version_of_an_input_is_an_error(tmp_path: Path) -> None:
    """The artifact is undamaged, but was made from another corpus."""
    home, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for directory, text in ((home, "a"), (elsewhere, "b")):
        with publish(directory / "corpus", {}, {}) as draft:
            (draft.directory / "text").write_text(text, encoding="utf-8")
        with publish(directory / "encoded", {"corpus": open_artifact(directory / "corpus", "download")}, {}):
            pass
    shutil.rmtree(home / "encoded")
    shutil.copytree(elsewhere / "encoded", home / "encoded")
    inputs = {name: open_artifact(home / name, "x") for name in ("corpus", "encoded")}
    with pytest.raises(UserError, match=r"here/encoded was made from another corpus .*run: make encode EXP=here"):
        _check_origins(inputs)
    _check_origins({name: open_artifact(elsewhere / name, "x") for name in ("corpus", "encoded")})


@pytest.mark.parametrize("content", ["{}", "{", "[]", '{"params": 1, "code": {}}'])
def test_a_damaged_stamp_is_an_error_with_what_to_remove(tmp_path: Path, content: str) -> None:
    stamp = tmp_path / "stamps/encode.json"
    stamp.parent.mkdir()
    stamp.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"stamps/encode.json .*is damaged; remove .*stamps and run the same command"):
        _read_call(stamp, [], tmp_path / "encoded")


def test_an_output_is_not_older_than_its_inputs_even_if_the_clock_was_set_back(tmp_path: Path) -> None:
    stamp = tmp_path / "stamps/encode.json"
    stamp.parent.mkdir()
    stamp.write_text('{"params": {}, "code": {}}', encoding="utf-8")
    with publish(tmp_path / "corpus", {}, {}):
        pass
    manifest = tmp_path / "corpus/manifest.json"
    later = time.time_ns() + 3600 * 10**9
    os.utime(manifest, ns=(later, later))
    call = _read_call(stamp, [manifest], tmp_path / "encoded")
    with call.publish():
        pass
    assert (tmp_path / "encoded/manifest.json").stat().st_mtime_ns >= manifest.stat().st_mtime_ns


def test_two_makes_at_once_make_everything_once(project: Project) -> None:
    command = ["make", "tokenizer"]
    makes = [
        subprocess.Popen(command, cwd=project.root, env=project.environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [make.communicate(timeout=120)[0] for make in makes]
    assert [make.returncode for make in makes] == [0, 0]
    open_artifact(project.build / "corpus", "download")
    open_artifact(project.build / "tokenizer", "tokenizer")
    assert len(re.findall(r"^download: qaa to qab, ", "".join(said), re.MULTILINE)) == 1, said


def test_text_is_utf8_in_every_locale(finished: Finished) -> None:
    texts = ["Tha felp — ü 한국어 walpes tha lond.", "Tha tisk bindes."]
    utf8 = finished.make("translate", stdin="\n".join(texts) + "\n")
    latin = finished.make(
        "translate", stdin="\n".join(texts) + "\n", LC_ALL="en_US.ISO-8859-1", PYTHONCOERCECLOCALE="0"
    )
    assert utf8.returncode == latin.returncode == 0
    assert latin.stdout == utf8.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user of no rights to change to")
def test_a_directory_without_write_permission_is_named(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pipeline.plumbing.command import fail_clearly; "
        "from pipeline.plumbing.lock import hold; os.setuid(65534); "
        "fail_clearly(lambda: hold(Path(sys.argv[1]) / 'build/default', 'train').__enter__())"
    )
    tmp_path.chmod(0o555)
    run = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.startswith("error: [Errno 13] Permission denied: ")


def test_a_change_of_run_settings_makes_nothing_stale(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.edit("experiments/smoke.yaml", "train:\n", "train:\n  max_minutes: 5.0\n  checkpoint_seconds: 9\n")
    assert project.planned() == []
    run_settings = json.loads((project.build / "stamps/run_settings.json").read_bytes())
    assert run_settings == {"checkpoint_seconds": 9, "max_minutes": 5.0}


def test_debug_shows_a_traceback(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.plumbing.command import fail_clearly; "
        "fail_clearly(lambda: Path(sys.argv[1]).read_text())"
    )

    def told(**environment: str) -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "missing")]
        run = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        assert run.returncode == 2
        return run.stderr

    line = f"error: [Errno 2] No such file or directory: '{tmp_path}/missing' (run it with DEBUG=1 to see where)\n"
    assert told() == told(DEBUG="") == told(DEBUG="0") == line
    assert re.fullmatch(r"Traceback .*in read_text.*" + re.escape(line), told(DEBUG="1"), re.DOTALL)


def test_make_passes_debug_to_the_stages(project: Project) -> None:
    assert "Traceback" in project.make("translate", "TEXT=x", "DEBUG=1").stderr
    assert "Traceback" not in project.make("translate", "TEXT=x").stderr


@pytest.mark.parametrize("module", ["stages", "pipeline.plumbing.errors", "numpy", "mlflow.exceptions"])
def test_ctrl_c_while_a_stage_imports_prints_one_line(module: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "stages.review", "params.yaml"]
    stage = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert stage.stderr
    while (line := stage.stderr.readline()).split("|")[-1].strip() != module:
        assert line.startswith("import time:"), line
    stage.send_signal(signal.SIGINT)
    told = [line for line in stage.stderr if not line.startswith("import time:")]
    assert (told, stage.wait(timeout=30)) == (["interrupted\n"], 130)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("get_run('x')", r"error: MLflow's store http://127\.0\.0\.1\S* cannot be used: .*; start its server, or .*\n"),
        ("search_runs(['1'], 'no filter')", r"error: MLflow's store sqlite:\S* refuses a value: .*\n"),
    ],
)
def test_any_error_of_mlflow_is_printed_in_one_line(tmp_path: Path, empty_store: Path, call: str, said: str) -> None:
    """This holds for every stage and command, because all of them end through fail_clearly."""
    away = f"http://me:secret@127.0.0.1:{unused_port()}"
    uri = away if call.startswith("get_run") else f"sqlite:///{shutil.copy(empty_store, tmp_path)}"
    code = (
        "import mlflow; from pipeline.plumbing.command import fail_clearly; mlflow.set_tracking_uri(%r); "
        "fail_clearly(lambda: mlflow.MlflowClient().%s)"
    )
    environment = os.environ | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "DEBUG": ""}
    run = subprocess.run(
        [sys.executable, "-c", code % (uri, call)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert re.fullmatch(said, run.stderr), run.stderr
