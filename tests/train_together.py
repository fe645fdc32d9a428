"""Train on toy sentences together with other processes, one step ahead of the results, as on GPUs.

accelerate launch ... -m tests.train_together DIRECTORY OUTPUT_DIRECTORY STOP_AT

Only the second process requests a stop, in step STOP_AT (0: never), and only it finds that checkpoints are due, always.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

import torch
from torch.nn.utils import parameters_to_vector

from pipeline.plumbing.errors import Paused
from tests.toy_training import Run, StopAt


def main(directory: Path, output: Path, stop_at: int) -> None:
    torch.set_num_threads(1)
    trainer = Run(directory, steps_ahead=1).trainer()
    rank, save, saved = trainer.accelerator.process_index, trainer._save, []
    if rank == 1:
        trainer.settings = trainer.settings.model_copy(update={"checkpoint_seconds": 0})
        trainer.stop_request = StopAt(trainer, stop_at or 10**9)

    def noted_save() -> None:
        saved.append(trainer.position.step)
        save()

    trainer._save = noted_save  # type: ignore[method-assign]
    end = "finished"
    try:
        trainer.fit(lambda metrics, step: None)
    except Paused as pause:
        end = str(pause)
    weights = sha256(parameters_to_vector(trainer.model.parameters()).detach().numpy().tobytes()).hexdigest()
    found = {"end": end, "saved": saved, "weights": weights}
    (output / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
