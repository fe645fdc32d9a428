"""Training from shards in object storage: a real S3 client and a server on this machine.

Skipped where they are not installed: s3fs is an optional extra, and the server is `moto[server]`.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.data.facts import EncodedFacts
from pipeline.plumbing.artifacts import open_artifact
from tests.project import Finished, Project

pytest.importorskip("s3fs", reason="s3fs is an optional extra")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed")
pytestmark = pytest.mark.slow

SHARDS = "encode: {shard_pairs: 400}\n"
STORED = "encode: {shard_pairs: 400, store: 's3://shards/toy'}\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    """A server with the bucket `shards`, which the environment names."""
    import fsspec

    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        fsspec.filesystem("s3").mkdir("shards")
        yield
    server.stop()


def trained(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    run = project.make("train", *arguments)
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.usefixtures("s3")
def test_training_from_a_store_is_that_from_the_disk_also_after_a_kill(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.edit("experiments/smoke.yaml", "train:\n", f"{SHARDS}train:\n  checkpoint_seconds: 1\n")
    trained(project)
    (project.build / "model").rename(project.build / "from-disk")
    on_disk = EncodedFacts.of(open_artifact(project.build / "encoded", "encode"))
    project.edit("experiments/smoke.yaml", SHARDS, STORED)
    make = subprocess.Popen(
        project.command("train"), cwd=project.root, env=project.environment(), start_new_session=True
    )
    project.wait_for_checkpoint()
    os.killpg(make.pid, signal.SIGKILL)
    make.wait()
    run = trained(project)
    assert "train: continuing after step " in run.stderr
    assert project.has_the_weights_of("from-disk")
    stored = EncodedFacts.of(open_artifact(project.build / "encoded", "encode"))
    assert [(shard.sha256, shard.pairs) for shard in stored.shards] == [(s.sha256, s.pairs) for s in on_disk.shards]
    assert len(stored.shards) == 6
    assert not list((project.build / "encoded").glob("train-*"))


@pytest.mark.usefixtures("s3")
def test_a_shard_that_was_replaced_or_removed_ends_training_with_an_error(finished: Finished, tmp_path: Path) -> None:
    import fsspec

    project = finished.copy_to(tmp_path)
    project.edit("experiments/smoke.yaml", "train:\n", f"{STORED}train:\n")
    run = project.make("encode")
    assert run.returncode == 0, run.stderr
    storage = fsspec.filesystem("s3")
    first, *others = storage.ls("shards/toy")
    content = storage.cat_file(first)
    for path in (first, *others):
        storage.pipe_file(path, content[:-1] + b"x")
    run = project.make("train")
    assert run.returncode == 2
    assert "cannot be read: OSError: its sha256 is" in run.stderr
    assert "Traceback" not in run.stderr
    for path in (first, *others):
        storage.rm_file(path)
    run = project.make("train")
    assert run.returncode == 2
    assert "cannot be read: FileNotFoundError" in run.stderr
    assert "to write the shard again, remove s3://shards/toy/train-0000" in run.stderr
    assert ", remove build/smoke/encoded and run: make encode EXP=smoke" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_does_not_exist_is_refused_and_nothing_is_published(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    before = project.manifest("encode").read_bytes()
    elsewhere = STORED.replace("s3://shards/toy", "s3://No_Bucket/toy")
    project.edit("experiments/smoke.yaml", "train:\n", f"{elsewhere}train:\n")
    run = project.make("encode")
    assert run.returncode == 2
    assert "error: encode.store: s3://No_Bucket/toy/train-00000-" in run.stderr
    assert "Traceback" not in run.stderr
    assert project.manifest("encode").read_bytes() == before
