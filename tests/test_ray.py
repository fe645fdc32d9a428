"""The corpus made by a Ray cluster of three nodes on this machine: the same bytes, also if a node dies.

Skipped where Ray is not installed: it is an optional extra.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.plumbing.params import DownloadSettings
from tests.downloading import ROOT
from tests.toy_corpus import sentence_pairs, write_tsv

ray = pytest.importorskip("ray", reason="Ray is an optional extra")
pytestmark = pytest.mark.slow

MADE = """
import sys
from pathlib import Path
from pipeline.data import corpus, pair_files
from pipeline.data.engine import open_engine
from pipeline.plumbing.params import DownloadSettings
from tests.test_ray import settings
if __name__ == "__main__":
    pair_files.PAIRS, corpus.RANGE_BYTES = 100, 30_000
    file, output = map(Path, sys.argv[1:])
    output.mkdir()
    chosen = settings(file)
    with open_engine() as engine:
        facts = corpus.build(corpus.read(chosen, output, print), chosen, output, engine, print)
    (output / "facts.json").write_text(facts.model_dump_json())
"""


def settings(file: Path) -> DownloadSettings:
    files = {"splits": {"train": str(file)}}
    chosen = {"source": "files", "source_language": "qaa", "target_language": "qab", "files": files}
    return DownloadSettings.model_validate({**chosen, "validation_pairs": 20, "test_pairs": 20})


def start(folder: Path, output: str, **environment: str) -> subprocess.Popen[str]:
    (folder / "made.py").write_text(MADE, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "made.py", str(folder / "train.tsv"), output],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tsv(tmp_path / "train.tsv", sentence_pairs(6000))
    plain = start(tmp_path, "plain", NUM_PROC="1")
    told, _ = plain.communicate()
    assert plain.returncode == 0, told
    return tmp_path


@pytest.mark.parametrize("kill", [False, True])
def test_a_cluster_makes_the_same_corpus_even_if_a_node_dies(folder: Path, kill: bool) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    try:
        made = start(folder, "made", ENGINE="ray", RAY_ADDRESS=cluster.address)
        if kill:
            while not list((folder / "made").glob("*/clean-00005.arrow")):
                assert made.poll() is None, made.communicate()[0]
                time.sleep(0.05)
            cluster.remove_node(nodes[0], allow_graceful=False)
        told, _ = made.communicate(timeout=300)
    finally:
        cluster.shutdown()
    assert made.returncode == 0, told
    assert content(folder / "made") == content(folder / "plain")
