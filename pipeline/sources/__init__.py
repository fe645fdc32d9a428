"""Where sentence pairs come from. Each source reads raw pairs; cleaning, splitting and writing are the corpus's."""

from dataclasses import dataclass, field

from ..cleaning import Pair


@dataclass
class Reading:
    """What a source found."""

    splits: dict[str, list[Pair]] = field(default_factory=lambda: {"train": []})  # as the source has them
    origins: dict[str, dict[str, str]] = field(default_factory=dict)  # Pair.origin -> name, version, licence, sha256
