"""Write a stamp for each stage: its settings, the digests of its code, and those of the data files in the settings.

Make compares the times of `stamps/<stage>.json` and of the stage's artifact. So a stamp is rewritten only when its
content changes: a comment, a docstring, formatting, `touch` or the settings of another stage rerun nothing. A stage
reads its settings from its stamp, so it cannot use a section that SECTIONS does not give it.
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
from .data_files import FILES_JSON, digests_of, named_by
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
NEUTRAL = "pipeline/plumbing/"  # code that does not change what a stage computes


def write_stamps(
    directory: Path, params: Params, artifacts: Mapping[str, Path], root: Path, watched: Mapping[str, Any]
) -> None:
    """Update each stage's stamp in `directory`. `artifacts` are the directories that the stages publish.

    `watched` has the names of the settings files, and the signatures of these files and of the code (see watch.py). The
    signatures were taken before `params` was read. The next call of Make compares them with the files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    settings = params.model_dump(mode="json", by_alias=True, exclude={"train": set(TrainSettings.RUN_SETTINGS)})
    digests = Digests(directory / FILES_JSON)
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
    # This comes last: if the process is killed before it, the next process looks at all files again.
    digests.save(named=named, **watched)


def write_run_settings(path: Path, params: Params) -> None:
    """Write the settings that control how training runs. They do not change its result, so they are in no stamp."""
    run_settings = params.train.model_dump(mode="json", include=set(TrainSettings.RUN_SETTINGS))
    if read_json(path) != run_settings:
        write_json(path, run_settings)


def code_digests(root: Path, start: str) -> dict[str, str]:
    """Return the digest of the syntax tree of `start` and of every project file that it imports."""
    files = {file.relative_to(root).as_posix(): file for file in imported_files(root / start)}
    return {name: _digest(file, file.read_bytes()) for name, file in files.items() if not name.startswith(NEUTRAL)}


def _take_back(path: Path, stamp: dict[str, Any], artifact: Path) -> None:
    """Set a stamp's time to that of its artifact, if the artifact was made with the same stamp.

    This is so if a setting or code was changed and the change was undone before a stage ran.
    """
    published = find_manifest(artifact)
    if published is not None and published.stamp == stamp:
        time = (artifact / MANIFEST).stat().st_mtime_ns
        os.utime(path, ns=(time, time))


@cache
def _digest(file: Path, source: bytes) -> str:
    tree = _structure(_WithoutWords().visit(parse(file, source)))
    return hashlib.sha256(json.dumps(tree).encode()).hexdigest()


def _structure(node: Any) -> Any:
    """Return a syntax tree as nested lists of text. Unlike ast.dump's output, it is the same for every Python."""
    if isinstance(node, list):
        return list(map(_structure, node))
    if not isinstance(node, ast.AST):
        return ascii(node)  # repr depends on the Unicode version of this Python
    fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return [type(node).__name__, *([name, _structure(value)] for name, value in fields if name != "kind")]


class _WithoutWords(ast.NodeTransformer):
    """Removes what only people read: docstrings, and the text of errors, prints, reports and log messages.

    The values in such a message stay, because computing them may have an effect.
    """

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Remove the empty text that Python 3.12 adds to some formats."""
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
    """Return whether this is `print`, `report`, or a method of `log`, the name of every module's logger."""
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Name) and function.value.id == "log"
    return isinstance(function, ast.Name) and function.id in ("print", "report")


def _without_text(node: ast.expr) -> ast.expr:
    """Return an expression without its own text. The arguments of functions that it calls stay."""
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
