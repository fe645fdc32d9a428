"""Bring text into its normal form, which the corpus, requests and translations have in common."""

import unicodedata


def normal_form(text: str) -> str:
    """Return the text in Unicode's composed form (NFC), with single spaces between words and none at the ends.

    All that Python counts as white space becomes a space, including line breaks, tabs, no-break spaces (U+00A0, U+202F)
    and the ideographic space (U+3000). All other characters stay, including those without a width (U+200C, U+200D).
    """
    return " ".join(unicodedata.normalize("NFC", text).split())
