"""Checkpoints: only intact ones of the same training, with all their metrics, are resumed from."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.training.checkpoint import Checkpoints, Position

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from pipeline.training.checkpoint import Checkpoints
from pipeline.plumbing.command import fail_clearly
directory = Path(sys.argv[1])
checkpoints = Checkpoints(directory, {}, {}, directory / "journal")
checkpoints.save(1, {"weights": torch.zeros(10)})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
fail_clearly(lambda: checkpoints.save(2, {"weights": torch.zeros(1_000_000)}))
"""


def checkpoints(directory: Path, **stamp: int) -> Checkpoints:
    return Checkpoints(directory / "checkpoints", {}, stamp, directory / "journal")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_newest_two_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    for step in (1, 2, 3):
        kept.save(step, {"step": step})
    assert sorted(path.name for path in kept.directory.iterdir()) == ["000000002", "000000003"]
    state = kept.directory / "000000003" / "state.pt"
    flip_a_bit(state)
    assert kept.latest() == {"step": 2}
    state.unlink()
    assert kept.latest() == {"step": 2}


@pytest.mark.parametrize("kind", ["truncated", "swapped", "no_manifest"])
def test_every_kind_of_damage_is_noticed(tmp_path: Path, kind: str) -> None:
    kept = checkpoints(tmp_path)
    for step in (1, 2):
        kept.save(step, {"step": step})
    newest, older = (kept.directory / f"00000000{step}" for step in (2, 1))
    if kind == "truncated":
        (newest / "state.pt").write_bytes((newest / "state.pt").read_bytes()[:-1])
    elif kind == "swapped":
        (newest / "state.pt").write_bytes((older / "state.pt").read_bytes())
    else:
        (newest / "manifest.json").write_text("{", encoding="utf-8")
    assert kept.latest() == {"step": 1}


def test_a_checkpoint_of_another_training_is_ignored(tmp_path: Path) -> None:
    checkpoints(tmp_path, learning_rate=1).save(1, {"step": 1})
    assert checkpoints(tmp_path, learning_rate=2).latest() is None
    assert checkpoints(tmp_path, learning_rate=1).latest() == {"step": 1}


def test_a_checkpoint_newer_than_the_journal_is_ignored(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    kept.journal.write_bytes(b"first\n")
    kept.save(1, {"step": 1})
    kept.journal.write_bytes(b"first\nsecond\n")
    kept.save(2, {"step": 2})
    assert kept.latest() == {"step": 2}
    kept.journal.write_bytes(b"first\n")
    assert kept.latest() == {"step": 1}
    kept.journal.unlink()
    assert kept.latest() is None


def test_a_full_disk_leaves_the_old_checkpoint_intact_and_no_part_of_the_new_one(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert "File too large" in run.stderr  # on a full disk: No space left on device
    assert "Traceback" not in run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000001"]
    assert Checkpoints(tmp_path, {}, {}, tmp_path / "journal").latest() is not None


@pytest.mark.parametrize(
    ("bleu", "loss", "is_better"),
    [
        (20.1, 2.0, True),
        (20.1, 9.0, True),  # better translations, though the loss is higher
        (19.9, 2.0, False),
        (19.9, 0.1, False),  # worse translations, though the loss is lower
        (20.0, 1.9, True),  # equal translations: the loss decides
        (20.0, 2.1, False),
        (20.0, 2.0, False),  # equal in both: the earlier epoch stays
        (20.0, math.nan, False),
    ],
)
def test_the_best_epoch_has_the_best_bleu_or_the_lower_loss_between_equals(
    bleu: float, loss: float, is_better: bool
) -> None:
    assert Position(best_epoch=3, best_bleu=20.0, best_loss=2.0).is_best(bleu, loss) is is_better


@pytest.mark.parametrize("loss", [0.0, 1e9, math.inf])
def test_the_first_epoch_is_always_the_best_so_far(loss: float) -> None:
    assert Position().is_best(0.0, loss)
