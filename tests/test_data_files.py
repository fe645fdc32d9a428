"""Data files that settings name are inputs: Make notices every change of them before it plans."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.plumbing.data_files import find
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.watch import matching
from tests.project import Project, new_project
from tests.toy_corpus import sentence_pairs, write_tsv

HEADER = "qaa\tqab\n"


@pytest.fixture(scope="module")
def downloaded_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a corpus from two files in the folder $TEXTS."""
    project = new_project(tmp_path_factory.mktemp("downloaded"))
    data = project.root / "my data"
    pairs = sentence_pairs(1000)
    for name, part in (("part1.tsv", pairs[:600]), ("part2.tsv", pairs[600:])):
        write_tsv(data / name, part)
    project.edit("experiments/smoke.yaml", "build/smoke-corpus/train.tsv", '"${TEXTS}/part*.tsv"')
    project.age()
    run = project.make("download", TEXTS=str(data))
    assert run.returncode == 0, run.stderr
    return project


@pytest.fixture
def downloaded(downloaded_once: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of that project. It is fresh, because equal files in another folder are the same corpus."""
    project = downloaded_once.copy_to(tmp_path)
    monkeypatch.setenv("TEXTS", str(data(project)))
    assert is_fresh(project)
    return project


def data(project: Project) -> Path:
    return project.root / "my data"


def is_fresh(project: Project) -> bool:
    """Return whether make status, -n and -q call the corpus fresh. Check that all of them agree."""
    status = project.make("status").stdout.splitlines()[1]
    told = [
        status.split()[1] == "fresh",
        project.planned("download") == [],
        project.make("-q", "download").returncode == 0,
    ]
    assert len(set(told)) == 1, told
    return told[0]


def edit(project: Project) -> None:
    with open(data(project) / "part1.tsv", "a", encoding="utf-8") as file:
        file.write("Tha felp walpes.\tTe felp walpes.\n")


def edit_without_a_trace(project: Project) -> None:
    """Change the content, but not the size and the modification time."""
    file = data(project) / "part1.tsv"
    times = file.stat()
    text = file.read_text(encoding="utf-8")
    file.write_text(text[:-3] + text[-2] + text[-3] + text[-1], encoding="utf-8")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_by_an_older_file(project: Project) -> None:
    file = data(project) / "part1.tsv"
    write_tsv(data(project) / "new", sentence_pairs(700)[650:])
    os.utime(data(project) / "new", ns=(1, 1))
    os.replace(data(project) / "new", file)


def add(project: Project) -> None:
    shutil.copy(data(project) / "part1.tsv", data(project) / "part3.tsv")


def remove(project: Project) -> None:
    (data(project) / "part2.tsv").unlink()


def rename(project: Project) -> None:
    os.rename(data(project) / "part2.tsv", data(project) / "part0.tsv")


def switch_the_link(project: Project) -> None:
    target = project.root / "elsewhere.tsv"
    write_tsv(target, sentence_pairs(800)[600:])
    (data(project) / "part2.tsv").unlink()
    (data(project) / "part2.tsv").symlink_to(target)


@pytest.mark.parametrize(
    "change",
    [
        *(edit_without_a_trace, replace_by_an_older_file, add),
        *(pytest.param(change, marks=pytest.mark.slow) for change in (edit, remove, rename, switch_the_link)),
    ],
)
def test_every_change_of_the_data_files_is_noticed(downloaded: Project, change: Callable[[Project], None]) -> None:
    change(downloaded)
    assert not is_fresh(downloaded)
    line = downloaded.make("status").stdout.splitlines()[1]
    assert re.search(r"stale: part\d\.tsv (changed|is (now|no longer) in download\.files\.splits\.train)", line), line
    assert downloaded.make("download").returncode == 0
    assert is_fresh(downloaded)


def test_another_folder_is_noticed_unless_its_files_are_equal(
    downloaded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = downloaded.root / "other"
    shutil.copytree(data(downloaded), other)
    monkeypatch.setenv("TEXTS", str(other))
    assert is_fresh(downloaded)
    (other / "part1.tsv").write_text(HEADER + "Tha felp walpes.\tTe felp walpes.\n", encoding="utf-8")
    assert not is_fresh(downloaded)
    monkeypatch.setenv("TEXTS", str(data(downloaded)))
    assert is_fresh(downloaded)
    monkeypatch.delenv("TEXTS")
    run = downloaded.make("-n", "download")
    assert run.returncode == 2
    assert "download.files.splits.train: ${TEXTS}/part*.tsv: TEXTS is not set; run: export TEXTS=" in run.stderr


def test_a_folder_named_on_the_command_line_of_make_counts(downloaded: Project) -> None:
    other = downloaded.root / "other"
    shutil.copytree(data(downloaded), other)
    assert downloaded.make("-q", "download", f"TEXTS={other}").returncode == 0
    (other / "part1.tsv").write_text(HEADER + "Tha felp walpes.\tTe felp walpes.\n", encoding="utf-8")
    assert downloaded.make("-q", "download", f"TEXTS={other}").returncode == 1
    assert is_fresh(downloaded)


@pytest.mark.slow
def test_older_settings_and_code_that_are_moved_into_place_are_noticed(downloaded: Project) -> None:
    for name, old, new, stale in (
        ("experiments/smoke.yaml", "vocabulary_size: 640", "vocabulary_size: 630", "tokenizer"),
        ("pipeline/data/splitting.py", "LEAK_WORDS = 3", "LEAK_WORDS = 4", "download"),
    ):
        path = downloaded.root / name
        kept = shutil.copy2(path, downloaded.root / "kept")
        downloaded.edit(name, old, new)
        assert stale in downloaded.planned("encode")
        os.replace(kept, path)
        assert is_fresh(downloaded)
        assert downloaded.told_stale()[0] == "tokenizer"  # which never ran
        text = path.read_text(encoding="utf-8").replace(old, new)
        (downloaded.root / "edited").write_text(text, encoding="utf-8")
        os.utime(downloaded.root / "edited", ns=(10**9, 10**9))
        os.replace(path, downloaded.root / "kept")
        os.replace(downloaded.root / "edited", path)
        stamp = json.loads((downloaded.build / f"stamps/{stale}.json").read_bytes())
        downloaded.planned("encode")
        assert json.loads((downloaded.build / f"stamps/{stale}.json").read_bytes()) != stamp
        os.replace(downloaded.root / "kept", path)


def test_touch_and_another_path_to_the_same_file_change_nothing(downloaded: Project) -> None:
    for file in data(downloaded).iterdir():
        file.touch()
        os.link(file, file.with_suffix(".backup"))
    (data(downloaded) / "unrelated.tsv").write_text("x", encoding="utf-8")
    assert is_fresh(downloaded)


def test_missing_data_files_are_an_error(downloaded: Project) -> None:
    shutil.rmtree(data(downloaded))
    for arguments in (["-n"], ["-q"], ["status"], ["download"]):
        run = downloaded.make(*arguments)
        assert run.returncode == 2
        assert "error: download.files.splits.train: no file matches ${TEXTS}/part*.tsv; check the path" in run.stderr


def test_other_sources_have_no_data_files(downloaded: Project) -> None:
    downloaded.edit("experiments/smoke.yaml", "source: files", "source: wheels")
    downloaded.edit("experiments/smoke.yaml", 'splits: {train: "${TEXTS}/part*.tsv"}', "splits: {}")
    downloaded.edit("experiments/smoke.yaml", "source_language: qaa", "source_language: en")
    downloaded.edit("experiments/smoke.yaml", "target_language: qab", "target_language: de")
    shutil.rmtree(data(downloaded))
    assert downloaded.planned("download") == ["download"]
    assert json.loads((downloaded.build / "stamps/files.json").read_bytes())["files"] == {}


def test_a_path_that_exists_as_written_is_not_a_glob(tmp_path: Path) -> None:
    folder = tmp_path / "data [v2]" / "a*b"
    folder.mkdir(parents=True)
    for name in ("x.tsv", "y.tsv", "[x].tsv"):
        (folder / name).touch()
    (folder / "z.tsv").mkdir()
    assert [Path(name).name for name in matching(f"{folder}/*.tsv")] == ["[x].tsv", "x.tsv", "y.tsv"]
    assert matching(f"{folder}/[x].tsv") == [f"{folder}/[x].tsv"]
    assert matching(f"{folder}/[xy].tsv") == [f"{folder}/x.tsv", f"{folder}/y.tsv"]
    assert matching(f"{tmp_path}/**/y.tsv") == [f"{folder}/y.tsv"]


def test_a_folder_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train: .* is a folder; name the files in it, e\.g\. .*/\*\.tsv"):
        find(str(tmp_path), "train")
    with pytest.raises(UserError, match=r"train: the file .*/x\.tsv is missing; check the path"):
        find(f"{tmp_path}/x.tsv", "train")
