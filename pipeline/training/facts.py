"""Define types for what the manifest of a trained model records."""

from ..plumbing.facts import Execution, Facts


class ModelFacts(Facts):
    validation_loss: float  # of the best epoch, in nats for each target token
    validation_bleu: float  # of the best epoch
    best_epoch: int  # counted from 1
    epochs: int
    steps: int
    parameters: int
    precision: str  # fp32 or bf16
    skipped_steps: int  # because their loss or gradient was not finite


class ModelExecution(Execution):
    seconds: float  # of training, without interruptions
    tokens_per_second: float  # target tokens
    processes: int
    padding: float  # share of padding in the target ids of an epoch
    imbalance: float  # see plan.imbalance
    attempt: str  # identifies the training, which MLflow shows as a run
