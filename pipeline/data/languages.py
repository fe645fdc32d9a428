"""Facts about languages: their scripts, where words end, and sacreBLEU's tokeniser.

A language has a BCP 47 code (`de`, `pt-BR`, `zh_Hans`, `sr-Cyrl`), which langcodes parses. Everything else follows from
its scripts, which have ISO 15924 names. The package `regex` knows the script of each character (Unicode data).
docs/languages.md has all of this in tables.
"""

import functools
import math
import unicodedata
from collections.abc import Iterable

import regex
from langcodes import Language
from langcodes.data_dicts import LIKELY_SUBTAGS
from langcodes.tag_parser import LanguageTagError

# ISO 15924 codes that stand for several of Unicode's scripts, or for a style of one.
COMPOSED = {
    **{"Hans": ("Hani",), "Hant": ("Hani",), "Hanb": ("Hani", "Bopo"), "Hrkt": ("Hira", "Kana")},
    **{"Jpan": ("Hira", "Kana", "Hani"), "Kore": ("Hang", "Hani"), "Jamo": ("Hang",), "Aran": ("Arab",)},
    **{"Cyrs": ("Cyrl",), "Latf": ("Latn",), "Latg": ("Latn",), "Geok": ("Geor",)},
    **{"Syre": ("Syrc",), "Syrj": ("Syrc",), "Syrn": ("Syrc",)},
}
# Scripts of a language that Unicode's likely subtags do not list (CLDR, languageData).
OTHER_SCRIPTS = {
    **{"ban": ("Bali",), "bm": ("Nkoo",), "bs": ("Cyrl",), "bug": ("Bugi",), "chr": ("Latn",), "cnr": ("Cyrl",)},
    **{"cr": ("Latn",), "gom": ("Knda", "Latn"), "hak": ("Latn",), "lzz": ("Geor",), "ro": ("Cyrl",)},
    **{"crh": ("Cyrl", "Latn"), "iu": ("Latn",), "jv": ("Java",), "kaa": ("Cyrl", "Latn"), "kab": ("Tfng",)},
    **{"kk": ("Latn",), "kmr": ("Cyrl",), "kok": ("Latn",), "ks": ("Arab", "Deva"), "ku": ("Cyrl",)},
    **{"lad": ("Hebr", "Latn"), "mni": ("Beng", "Mtei"), "nan": ("Hani", "Latn"), "sat": ("Deva", "Beng", "Latn")},
    **{"shi": ("Arab", "Latn", "Tfng"), "su": ("Sund",), "tg": ("Latn",), "tk": ("Arab", "Cyrl"), "tt": ("Latn",)},
    **{"tzm": ("Latn", "Tfng"), "ug": ("Latn",), "vai": ("Latn", "Vaii"), "za": ("Hani",), "zgh": ("Latn",)},
    # Languages without spaces that are not in the likely subtags: Chinese, Japonic, of Myanmar and of Tibet.
    **dict.fromkeys(("cjy", "cnp", "cpx", "csp", "czh", "czo", "ltc", "mnp", "och"), ("Hani",)),
    **dict.fromkeys(("ams", "kzg", "mvi", "ojp", "okn", "rys", "ryu", "xug", "yoi", "yox"), ("Hira", "Kana", "Hani")),
    **dict.fromkeys(("aio", "blk", "int", "kjp", "ksw", "phk", "pwo", "rki", "tvn"), ("Mymr",)),
    # These are not in COMMON_SCRIPTS, and must be listed so that text in them is judged.
    **{"ii": ("Yiii",), "nqo": ("Nkoo",), "syr": ("Syrc",)},
    **{"cdo": ("Hani", "Latn"), **dict.fromkeys(("adx", "khg", "lbj", "sip", "xct"), ("Tibt",))},
}
# Scripts in common use today (Unicode Standard Annex 31, table 5). If the likely subtags list only other scripts for a
# language, such as Linear B for Ancient Greek, its text is mostly written in a script that they do not list.
COMMON_SCRIPTS = {
    *("Arab", "Armn", "Beng", "Bopo", "Cyrl", "Deva", "Ethi", "Geor", "Grek", "Gujr", "Guru", "Hang", "Hani", "Hebr"),
    *("Hira", "Kana", "Khmr", "Knda", "Laoo", "Latn", "Mlym", "Mymr", "Orya", "Sinh", "Taml", "Telu", "Thaa", "Thai"),
    "Tibt",
}
NO_SCRIPT = {"Zyyy", "Zinh", "Zzzz"}  # Unicode's common, inherited and unknown

# Scripts without spaces between words, and the usual number of letters in a word, marks not counted.
LETTERS_A_WORD = {
    **dict.fromkeys(("Hani", "Hira", "Kana", "Bopo", "Yiii", "Nshu", "Tang"), 2),
    **dict.fromkeys(("Thai", "Laoo", "Khmr", "Mymr", "Tale", "Talu", "Lana", "Tavt", "Ahom"), 4),
    **dict.fromkeys(("Java", "Bali", "Bugi", "Kawi"), 4),
}
# Scripts with a mark after each syllable (the tsheg). A syllable counts as a word.
LETTERS_A_WORD_OF_SYLLABLES = {"Tibt": 4}
SEPARATORS = regex.compile(r"[\s\u0f0b\u0f0c\u1361]+")  # white space, tsheg, the Ethiopic wordspace

# Scripts in which a letter is a syllable or a word, and says as much as about three letters of an alphabet.
SYLLABIC = ("Hani", "Hira", "Kana", "Hang", "Yiii", "Nshu", "Tang", "Ethi", "Cans", "Cher", "Vaii")

# Characters that do not change what a text says: soft hyphens, direction marks, the Arabic tatweel. Joiners (U+200C,
# U+200D) are not among them, because they change words.
INVISIBLE = regex.compile(r"(?V1)[[\p{Default_Ignorable_Code_Point}\u0640]--[\u200c\u200d]]+")
_IN_RUN = r"[\p{L}\p{N}\p{M}\u200c\u200d]"


def _letters_of(scripts: Iterable[str]) -> str:
    """Return the inside of a regex set with the characters of the scripts, including those that other scripts share."""
    return "".join(rf"\p{{Script_Extensions={script}}}" for script in scripts)


def _run_of(characters: str) -> str:
    """Return a regex for a run of characters. It may have ASCII punctuation and apostrophes inside: 10.0.0.1, ha-ha."""
    return rf"{characters}+(?:[!-/:-@\[-`{{-~’]+{characters}+)*"


def _only_unspaced(scripts: Iterable[str]) -> str:
    """Return a regex set of the characters of scripts without spaces, except those that Latin or Cyrillic shares: ʼ."""
    return rf"[[{_letters_of(scripts)}]--[\p{{Script_Extensions=Latn}}\p{{Script_Extensions=Cyrl}}]]"


_UNSPACED = _only_unspaced(LETTERS_A_WORD)
_RUN = regex.compile(rf"(?V1){_run_of(_IN_RUN)}")
_ALONE = rf"[[{_UNSPACED}{_letters_of(LETTERS_A_WORD_OF_SYLLABLES)}]&&\p{{L}}]"
_LETTER_OR_RUN = regex.compile(rf"(?V1){_ALONE}[\p{{M}}\u200c\u200d]*|{_run_of(f'[{_IN_RUN}--{_ALONE}]')}")
UNSPACED_LETTER = regex.compile(rf"(?V1)[[{_UNSPACED}]&&\p{{L}}]")
_SPACED_CHARACTER = regex.compile(rf"(?V1)[\w--[{_UNSPACED}\p{{M}}]]")
_UNSPACED_LETTERS = {
    number: regex.compile(rf"(?V1)[{_only_unspaced(s for s, n in LETTERS_A_WORD.items() if n == number)}&&\p{{L}}]")
    for number in sorted(set(LETTERS_A_WORD.values()))
}
# The apostrophes in use. Between letters of a script without spaces they are quotation marks, and do not count.
APOSTROPHES = regex.compile("['’‘ʼʻʹʽ`´′＇]")
_APOSTROPHE = rf"(?<![{_UNSPACED}]\p{{M}}*){APOSTROPHES.pattern}(?=\p{{L}})(?![{_UNSPACED}])"
APOSTROPHE = regex.compile(rf"(?V1)(?<=[\p{{L}}\p{{M}}]){_APOSTROPHE}")
# A run of letters with their marks, joiners and inner apostrophes.
WORD = regex.compile(rf"(?V1)\p{{L}}(?:[\p{{L}}\p{{M}}\u200c\u200d]|{_APOSTROPHE})*")
_SPACE_INSIDE = regex.compile(rf"(?V1)(?<=[{_UNSPACED}]\p{{M}}*) (?=[{_UNSPACED}])")
SYLLABIC_LETTER = regex.compile(rf"(?V1)[[{_letters_of(SYLLABIC)}]&&\p{{L}}]")
OF_SOME_SCRIPT = regex.compile(r"(?V1)[\p{L}--[\p{Script=Zyyy}\p{Script=Zinh}]]+")


@functools.cache
def scripts(code: str) -> frozenset[str]:
    """Return Unicode's names of the scripts in which a language may be written; an empty set if they are not known.

    If the code contains a script, only that script is returned. Otherwise all scripts that Unicode lists for the
    language are returned. For Serbian these are Cyrillic and Latin, in every region.
    """
    found = {script} if (script := _parse(code, normalize=False).script) else set()
    if not found:
        language = _parse(code)
        for name in {language.language, language.prefer_macrolanguage().language} - {None, "und"}:
            tags = (Language.get(tag) for subtags, tag in LIKELY_SUBTAGS.items() if subtags.split("-")[0] == name)
            found |= {tag.script for tag in tags if tag.script} | set(OTHER_SCRIPTS.get(str(name), ()))
    values = {value for script in found for value in COMPOSED.get(script, (script,))}
    return frozenset(value for value in values if _is_known(value))


def _parse(code: str, *, normalize: bool = True) -> Language:
    """Return the language of a code; `und` (undetermined) for an invalid code. An old model may have such a code."""
    try:
        return Language.get(code, normalize=normalize)
    except LanguageTagError:
        return Language.get("und")


def standard_code(code: str) -> str:
    """Return the code in the form that BCP 47 recommends: `pt-BR` for pt_br, `de` for ger."""
    return _parse(code).to_tag()


@functools.cache
def _is_known(script: str) -> bool:
    try:
        regex.compile(_letters_of([script]))
    except regex.error:
        return False
    return script not in NO_SCRIPT


@functools.cache
def _main_scripts(code: str) -> frozenset[str]:
    """Return the scripts in which a language is usually written: Cyrillic for Serbian, three scripts for Japanese."""
    language, known = _parse(code), scripts(code)
    if language.language not in LIKELY_SUBTAGS:
        language = language.prefer_macrolanguage()
    script = language.maximize().script
    if not known or not script or language.language not in LIKELY_SUBTAGS:  # otherwise `maximize` would return Latin
        return known
    return frozenset(COMPOSED.get(script, (script,)))


def letters_a_word(code: str) -> int | None:
    """Return the usual number of letters in a word of a language without spaces; None for other languages."""
    main = _main_scripts(code)
    if "Hang" in main:
        return None  # Korean has spaces, also between words with Han characters
    return next((n for s, n in (LETTERS_A_WORD | LETTERS_A_WORD_OF_SYLLABLES).items() if s in main), None)


def has_spaces(code: str) -> bool:
    """Return whether the language is written with spaces between words."""
    return letters_a_word(code) is None


def tokeniser_for(code: str) -> str:
    """Return the name of sacreBLEU's tokeniser for a target language.

    For Japanese and Korean sacreBLEU recommends `ja-mecab` and `ko-mecab`, which need extra packages with dictionaries.
    The tokeniser `char` needs none. It is used for these two, and for all other languages without spaces except
    Chinese. The signature then says tok:char, and the score must not be compared with scores of word tokenisers.
    """
    main = _main_scripts(code)
    if main and main <= {"Hani", "Bopo"}:
        return "zh"
    return "char" if "Hang" in main or not has_spaces(code) else "13a"


@functools.cache
def letters_in(code: str) -> regex.Pattern[str] | None:
    """Return an expression for letters in the scripts of a language; None if the scripts are not known."""
    known, language = scripts(code), _parse(code)
    is_sure = language.script or language.language in OTHER_SCRIPTS or known & COMMON_SCRIPTS
    return regex.compile(rf"(?V1)[[{_letters_of(sorted(known))}]&&\p{{L}}]+") if known and is_sure else None


def size(text: str) -> int:
    """Return the length of a text in letters. A letter that is a syllable or a word counts as three.

    This makes the lengths of texts in all scripts comparable: "설치 중입니다" is about as long as "being installed". A
    combining mark counts as a letter, since it is a vowel in many scripts.
    """
    return len(text) + 2 * len(SYLLABIC_LETTER.findall(text))


def count_words(text: str) -> int:
    """Return the number of words in a text.

    Words are separated by spaces. In scripts without spaces, the number of words is the number of letters divided by
    LETTERS_A_WORD, rounded up. It depends on the letters, not on a language: "用 PostgreSQL 连接" has three words.
    """
    words = [word for word in SEPARATORS.split(text) if word]
    if text.isascii() or not UNSPACED_LETTER.search(text):
        return len(words)
    return sum(map(_words_in, words))


def _words_in(run: str) -> int:
    """Return the number of words in a text that contains no spaces."""
    unspaced = sum(len(letters.findall(run)) / number for number, letters in _UNSPACED_LETTERS.items())
    return math.ceil(unspaced) + bool(_SPACED_CHARACTER.search(run)) if unspaced else 1


def words(text: str) -> list[str]:
    """Return the words of a text, for comparison: in one case, width and apostrophe, without invisible characters."""
    return [_folded(word) for word in WORD.findall(INVISIBLE.sub("", text))]


def _folded(word: str) -> str:
    if word.isascii():
        return word.lower().replace("`", "'")
    plain = unicodedata.normalize("NFKC", APOSTROPHE.sub("'", word)).casefold()
    return unicodedata.normalize("NFKC", plain)


def words_only(text: str) -> str:
    """Return the words of a text, joined by spaces, but without spaces in scripts that have none."""
    return str(_SPACE_INSIDE.sub("", " ".join(words(text))))


def runs(text: str) -> list[str]:
    """Return the words and numbers of a text, split at spaces and punctuation."""
    return list(map(str, _RUN.findall(text)))


def letters_and_runs(text: str) -> list[str]:
    """Return the words and numbers of a text. In scripts without spaces, return single letters with their marks."""
    return list(map(str, _LETTER_OR_RUN.findall(text)))
