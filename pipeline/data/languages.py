"""Answer what the pipeline asks of a language: how it is written, where its words end, how BLEU cuts it into tokens.

A language is named by a BCP 47 code (`de`, `pt-BR`, `zh_Hans`, `sr-Cyrl`), which langcodes reads. All else follows from
its scripts, named as in ISO 15924; which letter is of which script is Unicode's data, as the `regex` package has it.
docs/languages.md has the whole as tables.
"""

import functools
import math
import unicodedata
from collections.abc import Iterable

import regex
from langcodes import Language
from langcodes.data_dicts import LIKELY_SUBTAGS
from langcodes.tag_parser import LanguageTagError

# Codes that stand for several of Unicode's scripts, or for a style of one.
COMPOSED = {
    **{"Hans": ("Hani",), "Hant": ("Hani",), "Hanb": ("Hani", "Bopo"), "Hrkt": ("Hira", "Kana")},
    **{"Jpan": ("Hira", "Kana", "Hani"), "Kore": ("Hang", "Hani"), "Jamo": ("Hang",), "Aran": ("Arab",)},
    **{"Cyrs": ("Cyrl",), "Latf": ("Latn",), "Latg": ("Latn",), "Geok": ("Geor",)},
    **{"Syre": ("Syrc",), "Syrj": ("Syrc",), "Syrn": ("Syrc",)},
}
# Scripts in which a language is written beside those of Unicode's likely subtags (CLDR, languageData).
OTHER_SCRIPTS = {
    **{"ban": ("Bali",), "bm": ("Nkoo",), "bs": ("Cyrl",), "bug": ("Bugi",), "chr": ("Latn",), "cnr": ("Cyrl",)},
    **{"cr": ("Latn",), "gom": ("Knda", "Latn"), "hak": ("Latn",), "lzz": ("Geor",), "ro": ("Cyrl",)},
    **{"crh": ("Cyrl", "Latn"), "iu": ("Latn",), "jv": ("Java",), "kaa": ("Cyrl", "Latn"), "kab": ("Tfng",)},
    **{"kk": ("Latn",), "kmr": ("Cyrl",), "kok": ("Latn",), "ks": ("Arab", "Deva"), "ku": ("Cyrl",)},
    **{"lad": ("Hebr", "Latn"), "mni": ("Beng", "Mtei"), "nan": ("Hani", "Latn"), "sat": ("Deva", "Beng", "Latn")},
    **{"shi": ("Arab", "Latn", "Tfng"), "su": ("Sund",), "tg": ("Latn",), "tk": ("Arab", "Cyrl"), "tt": ("Latn",)},
    **{"tzm": ("Latn", "Tfng"), "ug": ("Latn",), "vai": ("Latn", "Vaii"), "za": ("Hani",), "zgh": ("Latn",)},
    # Languages without spaces that the likely subtags lack: Chinese, Japonic, of Myanmar and of Tibet.
    **dict.fromkeys(("cjy", "cnp", "cpx", "csp", "czh", "czo", "ltc", "mnp", "och"), ("Hani",)),
    **dict.fromkeys(("ams", "kzg", "mvi", "ojp", "okn", "rys", "ryu", "xug", "yoi", "yox"), ("Hira", "Kana", "Hani")),
    **dict.fromkeys(("aio", "blk", "int", "kjp", "ksw", "phk", "pwo", "rki", "tvn"), ("Mymr",)),
    # Without these the next table would leave them out.
    **{"ii": ("Yiii",), "nqo": ("Nkoo",), "syr": ("Syrc",)},
    **{"cdo": ("Hani", "Latn"), **dict.fromkeys(("adx", "khg", "lbj", "sip", "xct"), ("Tibt",))},
}
# Scripts in common use today (Unicode Standard Annex 31, table 5). Where the likely subtags give a language another one
# alone, such as Linear B to Ancient Greek, today's text is mostly in a script that they do not give.
COMMON_SCRIPTS = {
    *("Arab", "Armn", "Beng", "Bopo", "Cyrl", "Deva", "Ethi", "Geor", "Grek", "Gujr", "Guru", "Hang", "Hani", "Hebr"),
    *("Hira", "Kana", "Khmr", "Knda", "Laoo", "Latn", "Mlym", "Mymr", "Orya", "Sinh", "Taml", "Telu", "Thaa", "Thai"),
    "Tibt",
}
NO_SCRIPT = {"Zyyy", "Zinh", "Zzzz"}  # Unicode's common, inherited and unknown

# Scripts written without spaces between words, and about how many letters a word has, marks not counted.
LETTERS_A_WORD = {
    **dict.fromkeys(("Hani", "Hira", "Kana", "Bopo", "Yiii", "Nshu", "Tang"), 2),
    **dict.fromkeys(("Thai", "Laoo", "Khmr", "Mymr", "Tale", "Talu", "Lana", "Tavt", "Ahom"), 4),
    **dict.fromkeys(("Java", "Bali", "Bugi", "Kawi"), 4),
}
# Scripts whose syllables end in a mark of their own (the tsheg): here a syllable counts as a word.
LETTERS_A_WORD_OF_SYLLABLES = {"Tibt": 4}
SEPARATORS = regex.compile(r"[\s\u0f0b\u0f0c\u1361]+")  # white space, tsheg, the Ethiopic wordspace

# Scripts of which one letter is a syllable or a word: it says what some three letters of an alphabet say.
SYLLABIC = ("Hani", "Hira", "Kana", "Hang", "Yiii", "Nshu", "Tang", "Ethi", "Cans", "Cher", "Vaii")

# What one sees of a text does not change with these: soft hyphens, marks of direction, the Arabic tatweel. A joiner
# (U+200C, U+200D) changes words.
INVISIBLE = regex.compile(r"(?V1)[[\p{Default_Ignorable_Code_Point}\u0640]--[\u200c\u200d]]+")
_IN_RUN = r"[\p{L}\p{N}\p{M}\u200c\u200d]"


def _letters_of(scripts: Iterable[str]) -> str:
    """The inside of a set: what is of one of the scripts, or shared by it and others."""
    return "".join(rf"\p{{Script_Extensions={script}}}" for script in scripts)


def _run_of(characters: str) -> str:
    """A run of them. ASCII punctuation and apostrophes inside do not end it, as in 10.0.0.1 and ha-ha."""
    return rf"{characters}+(?:[!-/:-@\[-`{{-~’]+{characters}+)*"


_UNSPACED = _letters_of(LETTERS_A_WORD)
_RUN = regex.compile(rf"(?V1){_run_of(_IN_RUN)}")
_ALONE = rf"[[{_UNSPACED}{_letters_of(LETTERS_A_WORD_OF_SYLLABLES)}]&&\p{{L}}]"
_LETTER_OR_RUN = regex.compile(rf"(?V1){_ALONE}[\p{{M}}\u200c\u200d]*|{_run_of(f'[{_IN_RUN}--{_ALONE}]')}")
_UNSPACED_LETTER = regex.compile(rf"(?V1)[[{_UNSPACED}]&&\p{{L}}]")
_SPACED_CHARACTER = regex.compile(rf"(?V1)[\w--[{_UNSPACED}\p{{M}}]]")
_UNSPACED_LETTERS = {
    number: regex.compile(rf"(?V1)[[{_letters_of(s for s, n in LETTERS_A_WORD.items() if n == number)}]&&\p{{L}}]")
    for number in sorted(set(LETTERS_A_WORD.values()))
}
# Keyboards and authors choose one or the other. Between letters of a script without spaces they are quotation marks.
_APOSTROPHE = rf"(?<![{_UNSPACED}]\p{{M}}*)['’‘ʼʻʹʽ`´′＇](?=\p{{L}})(?![{_UNSPACED}])"
APOSTROPHE = regex.compile(rf"(?V1)(?<=[\p{{L}}\p{{M}}]){_APOSTROPHE}")
# A run of letters with their marks, joiners and inner apostrophes.
WORD = regex.compile(rf"(?V1)\p{{L}}(?:[\p{{L}}\p{{M}}\u200c\u200d]|{_APOSTROPHE})*")
_SPACE_INSIDE = regex.compile(rf"(?V1)(?<=[{_UNSPACED}]\p{{M}}*) (?=[{_UNSPACED}])")
_SYLLABIC_LETTER = regex.compile(rf"(?V1)[[{_letters_of(SYLLABIC)}]&&\p{{L}}]")
_OF_SOME_SCRIPT = regex.compile(r"(?V1)[\p{L}--[\p{Script=Zyyy}\p{Script=Zinh}]]+")


@functools.cache
def scripts(code: str) -> frozenset[str]:
    """Return the scripts, as Unicode names them, in which a language may be written; none where that is not known.

    A script in the code decides. Without one, it is each script that Unicode knows the language in: Serbian may be
    Cyrillic or Latin, whatever the region.
    """
    found = {script} if (script := _read(code, normalize=False).script) else set()
    if not found:
        language = _read(code)
        for name in {language.language, language.prefer_macrolanguage().language} - {None, "und"}:
            tags = (Language.get(tag) for subtags, tag in LIKELY_SUBTAGS.items() if subtags.split("-")[0] == name)
            found |= {tag.script for tag in tags if tag.script} | set(OTHER_SCRIPTS.get(str(name), ()))
    values = {value for script in found for value in COMPOSED.get(script, (script,))}
    return frozenset(value for value in values if _is_known(value))


def _read(code: str, *, normalize: bool = True) -> Language:
    """The language of a code; an undetermined one of what is no code, as models of long ago may have."""
    try:
        return Language.get(code, normalize=normalize)
    except LanguageTagError:
        return Language.get("und")


def standard_code(code: str) -> str:
    """Return the code as BCP 47 recommends to write it: `pt-BR` of pt_br, `de` of ger."""
    return _read(code).to_tag()


@functools.cache
def _is_known(script: str) -> bool:
    try:
        regex.compile(_letters_of([script]))
    except regex.error:
        return False
    return script not in NO_SCRIPT


@functools.cache
def _main_scripts(code: str) -> frozenset[str]:
    """The scripts in which a language is written most: of Serbian Cyrillic, of Japanese three."""
    language, known = _read(code), scripts(code)
    if language.language not in LIKELY_SUBTAGS:
        language = language.prefer_macrolanguage()
    script = language.maximize().script
    if not known or not script or language.language not in LIKELY_SUBTAGS:  # `maximize` calls them Latin
        return known
    return frozenset(COMPOSED.get(script, (script,)))


def letters_a_word(code: str) -> int | None:
    """Return about how many letters a word has in a language that is written without spaces; None of all others."""
    main = _main_scripts(code)
    if "Hang" in main:
        return None  # Korean: its Han characters stand in words with spaces
    return next((n for s, n in (LETTERS_A_WORD | LETTERS_A_WORD_OF_SYLLABLES).items() if s in main), None)


def has_spaces(code: str) -> bool:
    """Return whether words of the language are written apart."""
    return letters_a_word(code) is None


def tokeniser_for(code: str) -> str:
    """Return the name of sacreBLEU's tokeniser for a target language.

    For Japanese and Korean sacreBLEU recommends `ja-mecab` and `ko-mecab`, extras with a dictionary each. Characters
    need neither, nor does any other language without spaces; the signature says tok:char, and such a score must not be
    compared with one of words.
    """
    main = _main_scripts(code)
    if main and main <= {"Hani", "Bopo"}:
        return "zh"
    return "char" if "Hang" in main or not has_spaces(code) else "13a"


@functools.cache
def _letters_in(code: str) -> regex.Pattern[str] | None:
    known, language = scripts(code), _read(code)
    is_sure = language.script or language.language in OTHER_SCRIPTS or known & COMMON_SCRIPTS
    return regex.compile(rf"(?V1)[[{_letters_of(sorted(known))}]&&\p{{L}}]+") if known and is_sure else None


def is_in_other_script(text: str, code: str) -> bool:
    """Return whether less than a third of a text's letters, by size, are of the language's scripts.

    Names and terms keep their letters: "SQLAlchemy を使う" is Japanese. A language whose scripts are not known is not
    judged.
    """
    letters = _letters_in(code)
    if letters is None:
        return False
    return 3 * size("".join(letters.findall(text))) < size("".join(_OF_SOME_SCRIPT.findall(text)))


def size(text: str) -> int:
    """Return a text's length in letters of an alphabet, where a letter that is a syllable or a word counts as three.

    So texts of all scripts can be compared: "설치 중입니다" is about as long as "being installed". A combining mark
    counts as a letter, since in many scripts it is the vowel.
    """
    return len(text) + 2 * len(_SYLLABIC_LETTER.findall(text))


def count_words(text: str) -> int:
    """Return how many words a text has: what stands between spaces; where none are written, letters over their usual
    number in a word (LETTERS_A_WORD), rounded up.

    The text decides, not a language, so that "用 PostgreSQL 连接" has its three.
    """
    words = [word for word in SEPARATORS.split(text) if word]
    if text.isascii() or not _UNSPACED_LETTER.search(text):
        return len(words)
    return sum(map(_words_in, words))


def _words_in(run: str) -> int:
    """The words in a text without spaces."""
    unspaced = sum(len(letters.findall(run)) / number for number, letters in _UNSPACED_LETTERS.items())
    return math.ceil(unspaced) + bool(_SPACED_CHARACTER.search(run)) if unspaced else 1


def words(text: str) -> list[str]:
    """Return a text's words as they are compared: but for case, width, the kind of apostrophe and what is invisible."""
    return [_folded(word) for word in WORD.findall(INVISIBLE.sub("", text))]


def _folded(word: str) -> str:
    if word.isascii():
        return word.lower().replace("`", "'")
    plain = unicodedata.normalize("NFKC", APOSTROPHE.sub("'", word)).casefold()
    return unicodedata.normalize("NFKC", plain)


def words_only(text: str) -> str:
    """Return a text's words with a space between them, but none where the script writes none."""
    return str(_SPACE_INSIDE.sub("", " ".join(words(text))))


def runs(text: str) -> list[str]:
    """Return a text's words and numbers, as spaces and punctuation divide them."""
    return list(map(str, _RUN.findall(text)))


def letters_and_runs(text: str) -> list[str]:
    """Return a text's letters of scripts without spaces, each with its marks, and its other words and numbers."""
    return list(map(str, _LETTER_OR_RUN.findall(text)))
