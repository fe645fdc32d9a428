"""Train the SentencePiece models: one for both languages, or one for each."""

from pipeline.data.facts import Side, TokenizerFacts
from pipeline.data.splits import read_split
from pipeline.data.tokenizer import JOINT, SOURCE, TARGET, count_skipped, train_model
from pipeline.plumbing.command import StageCall, run_stage
from pipeline.plumbing.params import TokenizerSettings


def tokenizer(call: StageCall) -> None:
    """Train on the training split only, so that the models do not even know the letters of held-out text."""
    settings = TokenizerSettings(**call.stamp["params"]["tokenizer"])
    sources, targets = read_split(call.inputs["corpus"].path("train.parquet"), settings.sample_sentences)
    sides: dict[Side, list[str]] = {"source": sources, "target": targets}
    if settings.joint:
        texts = {JOINT: sources + targets}
    else:
        texts = {SOURCE: sources, TARGET: targets}
    with call.publish() as draft:
        for name, lines in texts.items():
            (draft.directory / name).write_bytes(train_model(lines, settings))
        skipped = {side: count_skipped(lines) for side, lines in sides.items()}
        draft.facts = TokenizerFacts(vocabulary_size=settings.vocabulary_size, skipped=skipped)
        for side, count in skipped.items():
            if count:
                print(f"tokenizer: SentencePiece ignored {count:,} {side} lines, which are too long or contain U+2585")


if __name__ == "__main__":
    run_stage(tokenizer)
