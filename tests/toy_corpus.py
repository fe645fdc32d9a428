"""Write a toy corpus to try the pipeline on: sentences of a small grammar in two invented languages.

    python -m tests.toy_corpus build/smoke-corpus/train.tsv

The source has the verb in the second place, with its number. The target has the verb at the end, adjectives after the
noun, and number and gender on articles and adjectives. So a word-by-word translation is always wrong.
"""

import itertools
import os
import random
import sys
from pathlib import Path

LANGUAGES = ("qaa", "qab")  # codes for private use
PAIRS = 4000  # of the corpus of `make smoke`

# source stem, target stem, gender of the target's noun
NOUNS = [
    ("mordel", "kavo", "a"), ("tisk", "lumi", "o"), ("brunal", "sede", "a"), ("felp", "rato", "o"),
    ("gornet", "mila", "a"), ("hask", "pelu", "o"), ("jemmer", "tova", "a"), ("kribb", "zino", "o"),
    ("lond", "bara", "a"), ("nuft", "dego", "o"), ("ostrin", "fima", "a"), ("plum", "horo", "o"),
    ("quist", "jela", "a"), ("rember", "noku", "o"), ("sorn", "pira", "a"), ("tulp", "soku", "o"),
]  # fmt: skip
VERBS = [
    ("walp", "etir"), ("bind", "osal"), ("crem", "ugan"), ("dosk", "ivel"), ("fand", "amor"), ("gelt", "ekun"),
    ("hird", "otab"), ("kelm", "unis"), ("marn", "alef"), ("pask", "irod"),
]  # fmt: skip
ADJECTIVES = [
    ("grenn", "vel"), ("stouk", "mar"), ("lidd", "tos"), ("bromm", "kin"), ("wisp", "lar"), ("dall", "fur"),
    ("cherp", "nes"), ("vost", "bol"), ("yand", "rig"), ("zell", "dun"),
]  # fmt: skip
ADVERBS = [("noly", "saep"), ("rarly", "dim"), ("sunly", "krol"), ("tomly", "vesp")]


def sentence_pairs(count: int, seed: int = 1) -> list[tuple[str, str]]:
    """Return `count` different sentences with their translations, the same for the same seed."""
    chance = random.Random(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        source, target = _clause(chance)
        if chance.random() < 0.3:
            more_source, more_target = _clause(chance)
            source, target = f"{source}, ond {more_source}", f"{target}, e {more_target}"
        pairs[source.capitalize() + "."] = target.capitalize() + "."
    return list(pairs.items())


def _clause(chance: random.Random) -> tuple[str, str]:
    plural = chance.random() < 0.4
    subject, agent = _noun_phrase(chance, plural)
    object_, patient = _noun_phrase(chance, chance.random() < 0.4)
    verb, action = chance.choice(VERBS)
    adverb, manner = chance.choice([*ADVERBS, ("", "")])
    source = [subject, verb if plural else f"{verb}es", object_, adverb]
    target = [manner, agent, patient, f"{action}en" if plural else action]
    return tuple(" ".join(word for word in words if word) for words in (source, target))  # type: ignore[return-value]


def _noun_phrase(chance: random.Random, plural: bool) -> tuple[str, str]:
    noun, name, gender = chance.choice(NOUNS)
    chosen = chance.sample(ADJECTIVES, chance.choice([0, 1, 1, 2]))
    ending = gender + ("s" if plural else "")
    source = ["tha", *(adjective for adjective, _ in chosen), noun + ("en" if plural else "")]
    target = [f"l{ending}", name + ("s" if plural else ""), *(quality + ending for _, quality in reversed(chosen))]
    return " ".join(source), " ".join(target)


def write_tsv(path: Path, pairs: list[tuple[str, str]]) -> None:
    """Write a table with a column for each language, in one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    lines = itertools.chain([LANGUAGES], pairs)
    scratch.write_text("".join(f"{source}\t{target}\n" for source, target in lines), encoding="utf-8")
    os.replace(scratch, path)


if __name__ == "__main__":
    write_tsv(Path(sys.argv[1]), sentence_pairs(PAIRS))
