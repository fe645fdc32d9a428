"""Checkpoints: only intact ones of the same training, with all their metrics, are resumed from."""

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest
import torch

from pipeline.plumbing.artifacts import Draft, publish
from pipeline.training import checkpoint
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
checkpoints.wait()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
checkpoints.save(2, {"weights": torch.zeros(1_000_000)})
fail_clearly(lambda: checkpoints.save(3, {}))
"""


def checkpoints(directory: Path, **stamp: int) -> Checkpoints:
    return Checkpoints(directory / "checkpoints", {}, stamp, directory / "journal")


def save(kept: Checkpoints, step: int) -> None:
    kept.save(step, {"step": step})
    kept.wait()


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_newest_two_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    for step in (1, 2, 3):
        save(kept, step)
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
        save(kept, step)
    newest, older = (kept.directory / f"00000000{step}" for step in (2, 1))
    if kind == "truncated":
        (newest / "state.pt").write_bytes((newest / "state.pt").read_bytes()[:-1])
    elif kind == "swapped":
        (newest / "state.pt").write_bytes((older / "state.pt").read_bytes())
    else:
        (newest / "manifest.json").write_text("{", encoding="utf-8")
    assert kept.latest() == {"step": 1}


def test_a_checkpoint_of_another_training_is_ignored(tmp_path: Path) -> None:
    save(checkpoints(tmp_path, learning_rate=1), 1)
    assert checkpoints(tmp_path, learning_rate=2).latest() is None
    assert checkpoints(tmp_path, learning_rate=1).latest() == {"step": 1}


def test_a_checkpoint_newer_than_the_journal_is_ignored(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    kept.journal.write_bytes(b"first\n")
    save(kept, 1)
    kept.journal.write_bytes(b"first\nsecond\n")
    save(kept, 2)
    assert kept.latest() == {"step": 2}
    kept.journal.write_bytes(b"first\n")
    assert kept.latest() == {"step": 1}
    kept.journal.unlink()
    assert kept.latest() is None


def test_a_checkpoint_is_written_while_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the state and the length of the journal from the time of `save`. The next one waits for it."""
    kept, may_write, weights = checkpoints(tmp_path), Event(), torch.zeros(3)
    kept.journal.write_bytes(b"first\n")
    usual, order = publish, []

    @contextmanager
    def slow(directory: Path, *rest: Any) -> Iterator[Draft]:
        may_write.wait(60)
        with usual(directory, *rest) as draft:
            yield draft
        order.append(directory.name)

    monkeypatch.setattr(checkpoint, "publish", slow)
    kept.save(1, {"weights": weights})
    assert kept.latest() is None
    weights += 1
    kept.journal.write_bytes(b"first\nsecond\n")
    Timer(0.2, may_write.set).start()
    kept.save(2, {"weights": weights})
    assert order[:1] == ["000000001"]
    kept.wait()
    assert order == ["000000001", "000000002"]
    for journal, expected in ((b"first\nsecond\n", 1.0), (b"first\n", 0.0)):
        kept.journal.write_bytes(journal)
        state = kept.latest()
        assert state is not None
        assert (state["weights"] == expected).all()


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
