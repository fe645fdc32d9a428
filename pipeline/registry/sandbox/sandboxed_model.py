"""Load a packaged model in a confined process, as any user would load it, and let it translate.

The process sees the distributions that the model requires, and the requirements of these. It sees neither this project
nor other installed libraries. Two models in two processes share no code. In one process, MLflow would run both with the
code of the first. The model's code is not trusted, so its answers are checked before they are used.
"""

import csv
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from ...data.text import normal_form
from ...plumbing.errors import UserError
from ..limits import CHARACTERS, PIECES
from ..packaging import REQUIREMENTS
from .isolation import PYTHON
from .process import SandboxedProcess, run_sandboxed

SANDBOX = Path(__file__).resolve().parent
PREDICT = "predict.py"
LOADING_SECONDS = 600.0  # for the first answer
ANSWER_SECONDS = 60.0, 5.0  # for each later answer, and in addition for each of its sentences
MAX_CHARACTERS, MAX_PIECES = 20_000, 5_000  # of a translation

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Pieces = Annotated[list[Annotated[str, Field(max_length=1_000)]], Field(max_length=MAX_PIECES)]
Row = Annotated[list[FiniteFloat], Field(max_length=MAX_PIECES)]


class SandboxedTranslation(BaseModel):
    """A translation, with its pieces and attention if the model returned them."""

    model_config = ConfigDict(strict=True)

    text: Text
    tokens: Pieces
    source_tokens: Pieces
    # A row for each token, a column for each source token.
    attention: Annotated[list[Row], Field(max_length=MAX_PIECES)] | None = None


Answer = TypeVar("Answer")
TEXTS = TypeAdapter(list[Text], config=ConfigDict(strict=True))
N_BEST: TypeAdapter[list[list[SandboxedTranslation]]] = TypeAdapter(
    list[Annotated[list[SandboxedTranslation], Field(min_length=1, max_length=1)]], config=ConfigDict(strict=True)
)


@dataclass
class SandboxedModel:
    """A running model. Calls raise Misbehaviour if it does not load, ends, is too slow or gives a malformed answer."""

    name: str  # of the model, for errors
    _sandbox: SandboxedProcess
    _loaded: bool = False

    def translate(self, sentences: Sequence[str]) -> tuple[list[str], float]:
        """Translate with the model's defaults. Return a text for each sentence, and the seconds that this took."""
        answers, seconds = self._ask(sentences, {}, TEXTS)
        return (self._refused(sentences) if answers is None else answers), seconds

    def explain(
        self, sentences: Sequence[str], attention: bool = False
    ) -> tuple[list[SandboxedTranslation | None], float]:
        """Return translations with pieces, and with attention if wanted; None for sentences too long for the model."""
        if not (asked := [sentence for sentence in sentences if len(sentence) <= CHARACTERS]):
            return [None] * len(sentences), 0.0
        found, seconds = self._explain(asked, attention)
        hypotheses = iter(found)
        return [next(hypotheses) if len(sentence) <= CHARACTERS else None for sentence in sentences], seconds

    def _explain(self, sentences: Sequence[str], attention: bool) -> tuple[list[SandboxedTranslation | None], float]:
        """Ask the model. If it refuses, ask again with each half, until each sentence that is too long is alone."""
        answers, seconds = self._ask(sentences, {"n_best": 1, "attention": attention}, N_BEST)
        if answers is None and len(sentences) > 1:
            middle = len(sentences) // 2
            parts = [self._explain(part, attention) for part in (sentences[:middle], sentences[middle:])]
            return [h for found, _ in parts for h in found], seconds + sum(more for _, more in parts)
        if answers is None:
            return ([None] if _may_be_too_long(sentences[0]) else self._refused(sentences)), seconds
        best = [hypothesis for (hypothesis,) in answers]
        for hypothesis in best:
            rows, shape = hypothesis.attention or [], (len(hypothesis.tokens), len(hypothesis.source_tokens))
            if rows and (len(rows) != shape[0] or any(len(row) != shape[1] for row in rows)):
                self._sandbox.fail(
                    f"its attention does not have {shape[0]} rows, one for each token, of {shape[1]} weights"
                )
        return list(best), seconds

    def _refused(self, sentences: Sequence[str]) -> NoReturn:
        self._sandbox.fail(f"it refused to translate {sentences[0][:40]!r}")

    def _ask(
        self, sentences: Sequence[str], params: dict[str, Any], expected: TypeAdapter[list[Answer]]
    ) -> tuple[list[Answer] | None, float]:
        """Return the answers, and the seconds that they took. The answers are None if the model refuses the request."""
        request = json.dumps({"sentences": list(sentences), "params": params}).encode()
        once, each = ANSWER_SECONDS
        begun = time.perf_counter()
        line = self._sandbox.ask(request, once + each * len(sentences) if self._loaded else LOADING_SECONDS)
        seconds = time.perf_counter() - begun
        self._loaded = True
        if line.strip() == b"null":
            return None, seconds
        try:
            answers = expected.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = "".join(f"[{part}] " for part in first["loc"])[:100]
            self._sandbox.fail(
                f"it answered with something other than {'translations with pieces' if params else 'texts'} "
                f"({place}{first['msg']:.200}); if an earlier version of this pipeline packaged it, register it again"
            )
        if len(answers) != len(sentences):
            self._sandbox.fail(f"it answered {len(sentences)} sentences with {len(answers)} translations")
        return answers, seconds


def _may_be_too_long(sentence: str) -> bool:
    """Return whether a tokenizer may make more than PIECES pieces of it. It never makes more pieces than bytes."""
    return len(normal_form(sentence).encode(errors="surrogatepass")) >= PIECES


@contextmanager
def load_sandboxed(package: Path, name: str) -> Iterator[SandboxedModel]:
    """Start the model of the directory `package` in a sandbox. Error messages call it `name`."""
    with tempfile.TemporaryDirectory() as directory:
        seen = Path(directory) / "requirements"
        sites = link_requirements(package / REQUIREMENTS, seen)
        if os.geteuid() == 0:
            _open_to_all(seen, package, *package.rglob("*"))
        command = [PYTHON, "-I", "-S", "-B", "-X", "utf8", str(SANDBOX / PREDICT), str(seen), str(package.resolve())]
        read = [SANDBOX / PREDICT, seen, package.resolve(), *sites]
        with run_sandboxed(name, command, read) as sandbox:
            yield SandboxedModel(name, sandbox)


def _open_to_all(*paths: Path) -> None:
    """Let every user read these paths. If root has fetched them, the model's code runs as another user."""
    for path in paths:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def link_requirements(requirements: Path, directory: Path) -> set[Path]:
    """Make a directory for sys.path, with links to the installed distributions that `requirements` need.

    Return the directories that the links point into. Raise UserError if a distribution is not installed in the required
    version.
    """
    directory.mkdir()
    lines = [line.strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    try:
        waiting = [Requirement(line) for line in lines if line and not line.startswith("#")]
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{requirements.name} of the model: got {reason!r:.200}, expected name==version") from None
    sites = set()
    found: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        distribution = _installed(wanted, requirements)
        for extra in {"", *wanted.extras}:
            if (canonicalize_name(wanted.name), extra) not in found:
                found.add((canonicalize_name(wanted.name), extra))
                waiting += _required(distribution, extra)
        sites.add(_link(distribution, directory))
    return sites


def _installed(wanted: Requirement, requirements: Path) -> metadata.Distribution:
    try:
        distribution = metadata.distribution(wanted.name)
    except metadata.PackageNotFoundError:
        here = "is not installed here"
    else:
        if wanted.specifier.contains(distribution.version, prereleases=True):
            return distribution
        here = f"{distribution.version} is installed here"
    raise UserError(
        f"the model needs {wanted}, but {here}; work in an environment made with: pip install -r {requirements.name}"
    )


def _required(distribution: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    for line in distribution.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _link(distribution: metadata.Distribution, directory: Path) -> Path:
    """Link a distribution's entries in site-packages. Return that site-packages. Distributions may share an entry."""
    site = Path(str(distribution.locate_file(""))).resolve()
    # `distribution.files` would also ask the system whether each of 100,000 files exists.
    record = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    for name in {row[0].partition("/")[0] for row in record if row}:
        if name not in ("..", "__pycache__") and not (directory / name).exists():
            (directory / name).symlink_to(site / name)
    return site
