"""List how a candidate differs from the champion: settings, data, code, parameters, size and speed.

Only differences are listed, in words for the reviewer. The module `comparison` finds how the translations differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..data.facts import CorpusFacts, SourceFacts
from .comparison import System
from .version_files import VersionFiles

NONE = "–"  # stands for a setting, split or source that one of the two does not have
SHOWN = 8  # characters of a digest
NOTABLE = 1.1  # ratio of two speeds; smaller differences come and go from one review to the next


@dataclass(frozen=True)
class VersionChange:
    """Something that differs between the champion and the candidate."""

    what: str  # such as `train.epochs`, or `train pairs`
    champion: str
    candidate: str


def find_version_changes(
    candidate: VersionFiles, champion: VersionFiles, candidate_system: System, champion_system: System
) -> list[VersionChange]:
    """Return the differences between two versions. The systems hold the measurements of each."""
    return [
        *_differing(champion.settings, candidate.settings),
        *_differing(_data(champion, candidate), _data(candidate, champion)),
        *_code(champion, candidate),
        *_differing(_figures(champion_system), _figures(candidate_system)),
        *_speed(champion_system, candidate_system),
    ]


def _differing(champion: Mapping[str, str], candidate: Mapping[str, str]) -> list[VersionChange]:
    names = dict.fromkeys([*champion, *candidate])
    pairs = [VersionChange(name, champion.get(name, NONE), candidate.get(name, NONE)) for name in names]
    return [pair for pair in pairs if pair.champion != pair.candidate]


def _data(files: VersionFiles, other: VersionFiles) -> dict[str, str]:
    """Describe the corpus of one version. Name only those of its sources that the other version was not trained on."""
    facts = CorpusFacts.of(files.corpus)
    own, others = (set(map(_source, CorpusFacts.of(each.corpus).sources)) for each in (files, other))
    return {
        **{f"{split} pairs": f"{pairs:,}" for split, pairs in facts.splits.items()},
        "sources": ", ".join(sorted(own - others)) or NONE,
        "licences of the data": ", ".join(sorted({source.licence for source in facts.sources})),
        "corpus digest": files.corpus.digest[:SHOWN],
    }


def _source(source: SourceFacts) -> str:
    """Return a source's name with its version, revision or digest."""
    return f"{source.name} {(source.version or source.revision or source.sha256)[:SHOWN]}"


def _code(champion: VersionFiles, candidate: VersionFiles) -> list[VersionChange]:
    """Compare the commits, and the files of code that training depends on. Most commits do not change these files."""
    commits = [_commit(files) for files in (champion, candidate)]
    before, now = (files.model.stamp.get("code", {}) for files in (champion, candidate))
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if commits[0] == commits[1] and not changed:
        return []
    told = f"files of training code that differ: {len(changed)}" if changed else "the same training code"
    return [VersionChange("code commit", commits[0], f"{commits[1]} ({told})")]


def _commit(files: VersionFiles) -> str:
    commit, _, dirty = (files.record.commit or "").partition("-")
    return f"{commit[:SHOWN]}{' with local changes' if dirty else ''}" or "not under git"


def _figures(system: System) -> dict[str, str]:
    return {
        "parameters": NONE if system.parameters is None else f"{system.parameters:,}",
        "package size": NONE if system.size_bytes is None else f"{system.size_bytes / 1e6:,.1f} MB",
    }


def _speed(champion: System, candidate: System) -> list[VersionChange]:
    before, now = champion.speed, candidate.speed
    if before is None or now is None:
        return []
    pairs = (before.sentences_per_second, now.sentences_per_second), (before.latency_p50_ms, now.latency_p50_ms)
    if all(max(pair) <= NOTABLE * min(pair) for pair in pairs):
        return []
    told = [
        f"{s.sentences_per_second:,.0f} sentences/s, {s.latency_p50_ms:,.1f} ms per sentence" for s in (before, now)
    ]
    return [VersionChange("speed", *told)]
