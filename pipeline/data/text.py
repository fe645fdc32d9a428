"""The one form that text has in the corpus, in a request and in a translation."""

import unicodedata


def normal_form(text: str) -> str:
    """Return the text in Unicode's composed form (NFC), each run of white space one space, none at the ends.

    White space is what Python calls so: line breaks, tabs, the no-break space (U+00A0, U+202F) and the ideographic one
    (U+3000) too. All other characters stay as they are, those without a width (U+200C, U+200D) among them.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())
