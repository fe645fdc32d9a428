"""Encode the training and validation splits as token ids. Test sets stay text; the evaluation encodes them."""

from collections.abc import Iterator

from pipeline.data.encoded_shards import SHARD, ShardWriter
from pipeline.data.encoding import encode_split
from pipeline.data.engine import open_engine
from pipeline.data.facts import EncodedFacts, EncodedSplitFacts
from pipeline.data.tokenizer import Tokenizer
from pipeline.plumbing.command import StageCall, run_stage
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import EncodeSettings


def encode(call: StageCall) -> None:
    settings = EncodeSettings(**call.stamp["params"]["encode"])
    corpus = call.inputs["corpus"]
    tokenizer = Tokenizer.load(call.inputs["tokenizer"].directory)
    with call.publish() as draft, open_engine() as engine:

        def encoded(split: str, shard_pairs: int | None, file: str) -> Iterator[EncodedSplitFacts]:
            path = corpus.path(f"{split}.parquet")
            return encode_split(path, tokenizer, settings.max_tokens, shard_pairs, draft.directory / file, engine)

        (validation,) = encoded("validation", None, "validation.arrow")
        _check("validation", validation, settings)
        writer = ShardWriter(draft.directory, settings.store)
        for counts in encoded("train", settings.shard_pairs, SHARD):
            writer.add(draft.directory / SHARD, counts)
        _check("train", writer.total, settings)
        writer.close()
        draft.facts = EncodedFacts(
            train=writer.total, validation=validation, store=settings.store, shards=writer.shards
        )


def _check(split: str, counts: EncodedSplitFacts, settings: EncodeSettings) -> None:
    """Print the counts of a split. Raise UserError if the split has no pair left."""
    if not counts.pairs:
        raise UserError(
            f"encode.max_tokens: got {settings.max_tokens}, which leaves no pair of {split}: in all "
            f"{counts.too_long} pairs, one side is longer; raise it"
            + ("" if split == "train" else f", or provide shorter sentences for {split}")
        )
    print(
        f"encode: {split}: {counts.pairs:,} pairs, {counts.source_tokens:,} source and "
        f"{counts.target_tokens:,} target tokens, {counts.too_long:,} pairs left out because they are too long"
    )


if __name__ == "__main__":
    run_stage(encode)
