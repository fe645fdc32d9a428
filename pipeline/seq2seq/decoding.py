"""Translate with several processes. Each process translates some of the batches, and gets all translations."""

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
    """Translate `sentences` with all processes, and return all translations, in order, in every process.

    The result is bit-identical to that of `translator.translate`. `advance` is called with the number of sentences
    translated since the last call. Until all processes have finished, this number is estimated from this process.
    """
    rank, processes = accelerator.process_index, accelerator.num_processes
    mine: list[Numbered[Translation]] = []
    reported = 0
    for batch in translator.translate_share(sentences, beam_size, length_penalty, rank, processes):
        mine += batch
        decoded = min(len(mine) * processes, len(sentences))
        advance(decoded - reported)
        reported = decoded
    translations = in_order(gather_object(mine), len(sentences))
    advance(len(sentences) - reported)
    return translations


def hand_out(blocks: Iterator[list[str]], accelerator: Accelerator) -> Iterator[list[str]]:
    """Yield the `blocks` of the main process in every process. The `blocks` of the other processes are not used."""
    while True:
        message = [next(blocks, None) if accelerator.is_main_process else None]
        (block,) = broadcast_object_list(message)
        if block is None:
            return
        yield block
