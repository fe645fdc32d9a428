"""The cleaning rules, decided pair by pair with regular expressions: slow and obvious, to compare with."""

from collections.abc import Callable

from pipeline.data.cleaning import CONTROL, Pair, is_empty, normalised
from pipeline.data.languages import OF_SOME_SCRIPT, WORD, count_words, letters_in, size, words
from pipeline.data.placeholders import NUMBERED, PLACEHOLDER
from pipeline.plumbing.params import CleaningSettings


def has_control_characters(pair: Pair) -> bool:
    """Return whether a side has a control character or another code point that does not occur in text."""
    return bool(CONTROL.search(pair.source) or CONTROL.search(pair.target))


def has_no_words(pair: Pair) -> bool:
    """Return whether a side has no word besides its placeholders."""
    return not all(WORD.search(_without_placeholders(side)) for side in (pair.source, pair.target))


def is_too_short(pair: Pair, least: int) -> bool:
    """Return whether the source has fewer than `least` words, without placeholders and numbers."""
    runs = _without_placeholders(pair.source).split()
    return count_words(" ".join(run for run in runs if WORD.search(run))) < least


def is_too_long(pair: Pair, most: int) -> bool:
    """Return whether a side has more than `most` words."""
    return max(count_words(pair.source), count_words(pair.target)) > most


def has_odd_lengths(pair: Pair, ratio: float) -> bool:
    """Return whether one side is more than `ratio` times as long as the other."""
    shorter, longer = sorted((size(pair.source), size(pair.target)))
    return longer > ratio * shorter


def is_identical(pair: Pair) -> bool:
    """Return whether source and target are equal except for case."""
    return pair.source.casefold() == pair.target.casefold()


def is_untranslated(pair: Pair, share: float) -> bool:
    """Return whether more than `share` of the target's words are also in the source."""
    source, target = (words(_without_placeholders(side)) for side in (pair.source, pair.target))
    known = set(source)
    return sum(word in known for word in target) > share * len(target)


def has_other_placeholders(pair: Pair) -> bool:
    """Return whether the placeholders of the two sides differ, which means that one side is outdated or wrong."""
    return _placeholders(pair.source) != _placeholders(pair.target)


def _placeholders(text: str) -> list[str]:
    """Return the placeholders of a text, sorted. %5 counts only if the text has %1, too; in Turkish it means 5 %."""
    found = sorted(PLACEHOLDER.findall(text))
    return found if "%1" in found else [each for each in found if not NUMBERED.fullmatch(each)]


def has_other_script(pair: Pair, languages: tuple[str, str]) -> bool:
    """Return whether a side is not written in a script of its language."""
    sides = zip((pair.source, pair.target), languages, strict=True)
    return any(is_in_other_script(_without_placeholders(side), language) for side, language in sides)


def _without_placeholders(text: str) -> str:
    return str(PLACEHOLDER.sub(" ", text))


def is_in_other_script(text: str, code: str) -> bool:
    letters = letters_in(code)
    if letters is None:
        return False
    return 3 * size("".join(letters.findall(text))) < size("".join(OF_SOME_SCRIPT.findall(text)))


def rule_for(pair: Pair, limits: CleaningSettings, languages: tuple[str, str]) -> str | None:
    """Return the first rule that drops the pair, or None if it is kept."""
    rules: dict[str, Callable[[Pair], bool]] = {
        "empty": is_empty,
        "control_characters": has_control_characters,
        "no_words": has_no_words,
        "too_short": lambda pair: is_too_short(pair, limits.min_source_words),
        "too_long": lambda pair: is_too_long(pair, limits.max_words),
        "length_ratio": lambda pair: has_odd_lengths(pair, limits.max_length_ratio),
        "identical": is_identical,
        "untranslated": lambda pair: is_untranslated(pair, limits.max_copied_words),
        "placeholders": has_other_placeholders,
        "script": lambda pair: has_other_script(pair, languages),
    }
    clean = normalised(pair)
    return next((name for name, is_bad in rules.items() if is_bad(clean)), None)
