"""Type what the manifest of a trained model records."""

from ..plumbing.facts import Execution, Facts


class ModelFacts(Facts):
    validation_loss: float  # of the best epoch, in nats a target token
    validation_bleu: float  # of the best epoch
    best_epoch: int  # counted from 1
    epochs: int
    steps: int
    parameters: int
    precision: str  # fp32 or bf16
    skipped_steps: int  # left out, because their loss or gradient was not finite


class ModelExecution(Execution):
    seconds: float  # of training, over all interruptions
    tokens_per_second: float  # target tokens
    processes: int
    padding: float  # share of the target ids in the batches of an epoch
    imbalance: float  # by how much the process with most target tokens exceeds their mean, over the steps of an epoch
    attempt: str  # the training that MLflow shows as a run
