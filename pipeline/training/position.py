"""Owns where a training stands. With the weights and the optimiser's state, it is all that going on needs."""

import math
from dataclasses import dataclass


@dataclass
class Position:
    """Random states are not part of it, because each micro-batch seeds its own (see `Trainer._loss`)."""

    epoch: int = 0
    index: int = 0  # of the next step in the epoch's plan
    step: int = 0  # updates made
    best_epoch: int = 0  # counted from 1
    best_loss: float = math.inf
    best_bleu: float = -1.0
    tokens: int = 0  # target tokens learned from
    skipped: int = 0  # steps left out, since their loss or gradient was not finite
    seconds: float = 0.0  # of training, over all interruptions
    processes: int = 0  # that the checkpoint was made with; any other number may go on from it

    def is_best(self, bleu: float, loss: float) -> bool:
        """Better translations first; the loss decides between equals, as in the first epochs, when all are 0."""
        return (bleu, -loss) > (self.best_bleu, -self.best_loss)
