"""Where sentence pairs come from. Each source reads raw pairs; cleaning, splitting and writing are the corpus's."""

from dataclasses import dataclass, field

from ..cleaning import Pair


@dataclass
class RawCorpus:
    """What a source found."""

    splits: dict[str, list[Pair]] = field(default_factory=dict)  # as the source has them
    origins: list[dict[str, str]] = field(default_factory=list)  # for the manifest: name, version, licence, sha256 ...

    def add_origin(self, record: dict[str, str]) -> int:
        """Note a file or package that pairs come from; returns what to put in `Pair.origin`."""
        self.origins.append(record)
        return len(self.origins) - 1
