"""Write and read the record of a package: what it was made from, and the digest of each of its files.

The record is the file registration.json in the package. A tag of the version holds the digest of the record. So this
one tag protects everything in the record, and through it every file of the package, the test sets and the training
sentences.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ..plumbing.artifacts import sha256_of
from ..plumbing.errors import UserError

RECORD_FILE = "registration.json"


class PackageRecord(BaseModel):
    """The content of registration.json. Digests are sha256, as hexadecimal text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    experiment: str
    source_language: str
    target_language: str
    commit: str | None  # None: trained outside of git
    corpus: str  # digest of the artifact, as are the next two
    model: str
    evaluation: str
    training_sentences: str  # digest of their fingerprints, see data/fingerprints.py
    files: dict[str, str]  # path in the package -> digest, of every other file

    def write(self, package: Path) -> str:
        """Write the record into the directory of a package. Return the record's digest."""
        path = package / RECORD_FILE
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return sha256_of(path)


def read_record(path: Path, digest: str, name: str, remedy: str = "") -> PackageRecord:
    """Read the record of the package `name`. Raise UserError, ending with `remedy`, if it does not have this digest."""
    if sha256_of(path) != digest:
        raise UserError(
            f"{name} is not as it was registered: {path.name} does not have the digest in the version's tag; do not "
            f"use it, and find out who changed the artifact store or the tag{remedy}"
        )
    try:
        return PackageRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path.name} of {name} is not a record of this pipeline: {place}: {first['msg']}") from None
