"""Check one request to a packaged translator, and answer it.

This file is part of the package. It raises MLflow's errors, with the code for which the scoring server answers 400.
"""

from dataclasses import asdict, dataclass
from typing import Any

from mlflow.exceptions import MlflowException

from ..seq2seq.translator import BEAM_SIZE, LENGTH_PENALTY, Translation, Translator
from .limits import CHARACTERS, PIECES

MAX_SENTENCES = 10_000  # in a request
MAX_BEAM, MAX_PENALTY = 32, 10.0
MAX_WEIGHTS = 4_000_000  # attention weights in an answer; each takes about 10 bytes of JSON


@dataclass(frozen=True)
class RequestParams:
    """The params that a request may have besides its sentences, with their defaults."""

    beam_size: int = BEAM_SIZE
    length_penalty: float = LENGTH_PENALTY
    n_best: int = 0  # 0: only the text of the best translation
    attention: bool = False

    def __post_init__(self) -> None:
        _check(
            "beam_size", self.beam_size, _is_whole(self.beam_size, 1, MAX_BEAM), f"a whole number from 1 to {MAX_BEAM}"
        )
        _check(
            "length_penalty",
            self.length_penalty,
            _is_penalty(self.length_penalty),
            f"a number from 0 to {MAX_PENALTY:g}",
        )
        _check(
            "n_best",
            self.n_best,
            _is_whole(self.n_best, 0, self.beam_size),
            f"a whole number from 0 to beam_size, which is {self.beam_size}",
        )
        _check("attention", self.attention, isinstance(self.attention, bool), "true or false")
        _check("attention", self.attention, self.n_best > 0 or not self.attention, "false, or n_best of 1 or more")


def answer(translator: Translator, sentences: list[str], params: dict[str, Any]) -> list[Any]:
    """Return a text for each sentence or, with `n_best`, a list of the best translations of each sentence.

    Such a translation is a dict with text, score, tokens and source tokens, and with attention if the request asks for
    it.
    """
    wanted = RequestParams(**params)
    _check_sentences(translator, sentences, wanted)
    if wanted.n_best == 0:
        return [t.text for t in translator.translate(sentences, wanted.beam_size, wanted.length_penalty)]
    found = translator.translate_n_best(sentences, wanted.n_best, wanted.beam_size, wanted.length_penalty)
    return [[_as_json(translation, wanted.attention) for translation in best] for best in found]


def _as_json(translation: Translation, attention: bool) -> dict[str, Any]:
    """Return a translation as a dict. Attention is (tokens, source tokens), or None for a model without attention."""
    shown = asdict(translation)
    weights = shown.pop("attention")
    if attention and not translation.tokens:
        return shown | {"attention": []}
    if attention:
        return shown | {"attention": None if weights is None else weights.astype(float).round(6).tolist()}
    return shown


def _check_sentences(translator: Translator, sentences: list[str], wanted: RequestParams) -> None:
    if len(sentences) > MAX_SENTENCES:
        raise _refusal(f"got {len(sentences):,} sentences, expected at most {MAX_SENTENCES:,}; send them in parts")
    for place, sentence in enumerate(sentences):
        if len(sentence) > CHARACTERS:
            raise _refusal(_too_long(place, sentence, f"{len(sentence):,} characters", f"{CHARACTERS:,}"))
        try:
            sentence.encode()
        except UnicodeEncodeError as error:
            raise _refusal(
                f"sentences[{place}]: got {sentence[error.start]!r} at character {error.start}, half of a surrogate "
                "pair; expected valid Unicode"
            ) from None
    lengths = [len(source) for source in translator.tokenizer.encode_source(sentences)]
    for place, (sentence, length) in enumerate(zip(sentences, lengths, strict=True)):
        if length - 1 > PIECES:
            raise _refusal(_too_long(place, sentence, f"{length - 1:,} pieces after tokenising", str(PIECES)))
    weights = wanted.n_best * sum(2 * length**2 for length in lengths)
    if wanted.attention and weights > MAX_WEIGHTS:
        raise _refusal(
            f"attention: about {weights:,} weights for these sentences and n_best={wanted.n_best}, expected at most "
            f"{MAX_WEIGHTS:,}; send fewer or shorter sentences, or a smaller n_best"
        )


def _too_long(place: int, sentence: str, got: str, most: str) -> str:
    return f"sentences[{place}], {sentence[:40]!r}...: got {got}, expected at most {most}; cut it into sentences"


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_penalty(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_PENALTY  # false for NaN


def _check(name: str, value: object, is_right: bool, expected: str) -> None:
    if not is_right:
        raise _refusal(f"{name}: got {value!r:.80}, expected {expected}")


def _refusal(message: str) -> MlflowException:
    refusal: MlflowException = MlflowException.invalid_parameter_value(message)
    return refusal
