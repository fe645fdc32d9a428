"""corpus -> SentencePiece model(s)."""

import datasets

from pipeline.params import TokenizerSettings
from pipeline.tokenizer import JOINT, SOURCE, TARGET, count_skipped, train_model
from stages.command import StageCall, run_stage


def tokenizer(call: StageCall) -> None:
    """Train on the training split only: held-out text teaches nothing, not even its letters."""
    settings = TokenizerSettings(**call.stamp["params"]["tokenizer"])
    train = datasets.Dataset.from_parquet(str(call.inputs["corpus"].path("train.parquet")), keep_in_memory=True)
    sides = {"source": list(train["source"]), "target": list(train["target"])}
    if settings.joint:
        texts = {JOINT: sides["source"] + sides["target"]}
    else:
        texts = {SOURCE: sides["source"], TARGET: sides["target"]}
    with call.publish() as draft:
        for name, lines in texts.items():
            (draft.directory / name).write_bytes(train_model(lines, settings))
        skipped = {side: count_skipped(lines) for side, lines in sides.items()}
        draft.facts.update(vocabulary_size=settings.vocabulary_size, skipped_for_length=skipped)
        for side, count in skipped.items():
            if count:
                print(f"tokenizer: SentencePiece left out {count} {side} lines for their length in bytes")


if __name__ == "__main__":
    run_stage(tokenizer)
