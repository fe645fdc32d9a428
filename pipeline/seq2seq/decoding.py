"""Owns how processes share decoding: each translates its batches, all get everything. Which batches: translator.py."""

from collections.abc import Callable, Iterator

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from .translator import BEAM_SIZE, LENGTH_PENALTY, Numbered, Translation, Translator, in_order


def translate_all(
    translator: Translator,
    sentences: list[str],
    accelerator: Accelerator,
    beam_size: int = BEAM_SIZE,
    length_penalty: float = LENGTH_PENALTY,
    advance: Callable[[int], object] = lambda count: None,
) -> list[Translation]:
    """What `translator.translate` gives for the same sentences, to the bit; whole and in order in every process.

    `advance` is told how many sentences were decoded, all of them in the end: between two exchanges, as if the other
    processes were as far as this one.
    """
    rank, processes = accelerator.process_index, accelerator.num_processes
    mine: list[Numbered[Translation]] = []
    told = 0
    for batch in translator.translate_share(sentences, beam_size, length_penalty, rank, processes):
        mine += batch
        decoded = min(len(mine) * processes, len(sentences))
        advance(decoded - told)
        told = decoded
    translations = in_order(gather_object(mine), len(sentences))
    advance(len(sentences) - told)
    return translations


def hand_out(blocks: Iterator[list[str]], accelerator: Accelerator) -> Iterator[list[str]]:
    """The main process's blocks, in every process; the others' `blocks` are not touched."""
    while True:
        message = [next(blocks, None) if accelerator.is_main_process else None]
        (block,) = broadcast_object_list(message)
        if block is None:
            return
        yield block
