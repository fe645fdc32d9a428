"""Read sentence pairs from local files, the Hugging Face Hub or wheels. Each source returns a RawCorpus."""

from dataclasses import dataclass, field

from ..cleaning import Pair


@dataclass
class RawCorpus:
    """The sentence pairs of a source before cleaning, and where they come from."""

    splits: dict[str, list[Pair]] = field(default_factory=dict)  # the splits that the source has
    origins: list[dict[str, str]] = field(default_factory=list)  # for the manifest: name, version, licence, sha256 ...

    def add_origin(self, record: dict[str, str]) -> int:
        """Record a file or package that pairs come from, and return the value for `Pair.origin`."""
        self.origins.append(record)
        return len(self.origins) - 1
