"""Write what a stage's output depends on besides its inputs, as a stamp: settings, code, and the files they name.

`stamps/<stage>.json` is what Make compares in time with the stage's artifact, so it is rewritten only when its content
changes: another section, a comment, a docstring, formatting or `touch` rerun nothing. A stage is handed its stamp and
cannot read a setting that it did not declare in SECTIONS.
"""

import ast
import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .artifacts import MANIFEST, find_manifest, read_json, write_json
from .data_files import MEMORY, digests_of, named_by
from .digests import Digests
from .imports import imported_files, parse
from .params import Params, TrainSettings

# Stage -> the sections of params.yaml that it may read.
SECTIONS = {
    "download": ["download"],
    "tokenizer": ["tokenizer"],
    "encode": ["encode"],
    "train": ["model", "train"],
    "evaluate": ["evaluate"],
    "register": ["register"],
}
NEUTRAL = "pipeline/plumbing/"  # the directory of code that has no say in what a stage computes


def write_stamps(
    directory: Path, params: Params, artifacts: Mapping[str, Path], root: Path, watched: Mapping[str, Any]
) -> None:
    """Bring each stage's stamp in `directory` up to date. `artifacts` are the directories that the stages publish.

    `watched` is what watch.py looks at from now on: the names of the files of `settings`, and `sources`, which are these
    and the code as they were before `params` was read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    settings = params.model_dump(mode="json", by_alias=True, exclude={"train": set(TrainSettings.RUN_SETTINGS)})
    digests = Digests(directory / MEMORY)
    named: dict[str, str] = {}
    for stage, sections in SECTIONS.items():
        chosen = {section: settings[section] for section in sections}
        named |= named_by(chosen)
        stamp = {
            "stage": stage,
            "params": chosen,
            "code": code_digests(root, f"stages/{stage}.py"),
            "files": digests_of(named_by(chosen), digests),
        }
        path = directory / f"{stage}.json"
        if read_json(path) != stamp:
            write_json(path, stamp)
            _take_back(path, stamp, artifacts[stage])
    digests.save(named=named, **watched)  # last: a kill before this has all files looked at again


def write_run_settings(path: Path, params: Params) -> None:
    """Write the settings of how training is run, which have no say in what comes of it and are in no stamp."""
    run_settings = params.train.model_dump(mode="json", include=set(TrainSettings.RUN_SETTINGS))
    if read_json(path) != run_settings:
        write_json(path, run_settings)


def code_digests(root: Path, start: str) -> dict[str, str]:
    """File -> digest of its syntax tree, for `start` and every project file that it imports."""
    files = {file.relative_to(root).as_posix(): file for file in imported_files(root / start)}
    return {name: _digest(file, file.read_bytes()) for name, file in files.items() if not name.startswith(NEUTRAL)}


def _take_back(path: Path, stamp: dict[str, Any], artifact: Path) -> None:
    """A change that was undone before it was used: make the stamp as old as the artifact that it is true of again."""
    published = find_manifest(artifact)
    if published is not None and published.stamp == stamp:
        time = (artifact / MANIFEST).stat().st_mtime_ns
        os.utime(path, ns=(time, time))


@cache
def _digest(file: Path, source: bytes) -> str:
    tree = _structure(_WithoutWords().visit(parse(file, source)))
    return hashlib.sha256(json.dumps(tree).encode()).hexdigest()


def _structure(node: Any) -> Any:
    """A syntax tree as lists and texts: the same in every version of Python, which ast.dump and ast.unparse are not."""
    if isinstance(node, list):
        return list(map(_structure, node))
    if not isinstance(node, ast.AST):
        return ascii(node)  # what repr shows as it is depends on the Unicode of this Python
    fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return [type(node).__name__, *([name, _structure(value)] for name, value in fields if name != "kind")]


class _WithoutWords(ast.NodeTransformer):
    """Drops the words that only people read: docstrings, and the text of errors, prints, reports and log messages.

    The values that such a message shows stay: to compute them may do something.
    """

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Python 3.12 puts an empty text at the end of some formats."""
        node.values = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args = list(map(_without_text, node.exc.args))
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is_message(node.func):
            node.args = list(map(_without_text, node.args))
        return self.generic_visit(node)


def _is_message(function: ast.expr) -> bool:
    """`print`, `report`, or a method of a module's logger: everywhere here they have these names."""
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Name) and function.value.id == "log"
    return isinstance(function, ast.Name) and function.id in ("print", "report")


def _without_text(node: ast.expr) -> ast.expr:
    """An expression without the text that it is directly made of; what is handed to a function in it stays."""
    match node:
        case ast.Constant(value=str()):
            return ast.Constant("")
        case ast.JoinedStr():
            return ast.JoinedStr([part for part in node.values if isinstance(part, ast.FormattedValue)])
        case ast.BinOp():
            return ast.BinOp(_without_text(node.left), node.op, _without_text(node.right))
        case ast.IfExp():
            return ast.IfExp(node.test, _without_text(node.body), _without_text(node.orelse))
    return node
