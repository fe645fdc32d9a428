"""Read params.yaml and the experiment's file over it, and report all mistakes in them, one in each line.

An experiment may build on another one: `extends: smoke` at the top of its file lays it over experiments/smoke.yaml.
`make EXP=name DATA=other` lays experiments/name.yaml over experiments/other.yaml without such a line.
params.py defines types, ranges and defaults. Nothing else reads YAML settings.
"""

import difflib
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .errors import UserError
from .params import Params

EXTENDS = "extends"  # the key of an experiment's file that names the experiment under it
DOWNLOAD = "download"  # the section that says where the corpus comes from
KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "settings below it, indented",
    "null": "null",
}
LIMITS = {
    "exclusiveMinimum": "> {}",
    "minimum": ">= {}",
    "exclusiveMaximum": "< {}",
    "maximum": "<= {}",
    "minLength": "of at least {} characters",
    "minItems": "of at least {} items",
    "pattern": "that matches {}",
}


def read_params(paths: Sequence[Path]) -> Params:
    """Return the settings in the files. Each file replaces settings of the files before it, key by key.

    Raise UserError with a line for each mistake. The line names the file that has the wrong value.
    """
    documents = _read_documents(paths)
    try:
        return Params.model_validate(functools.reduce(_overlay, documents.values()))
    except ValidationError as error:
        schema = Params.model_json_schema()
        lines = [_format(mistake, schema, documents) for mistake in error.errors()]
        raise UserError("\n".join(dict.fromkeys(lines))) from None


def files_read(paths: Sequence[Path]) -> list[Path]:
    """Return the files that `read_params` reads. Each experiment comes after the experiments that it extends."""
    return list(_read_documents(paths))


def _read_documents(paths: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """Return the settings of each file. Each file replaces settings of the files before it."""
    base, *experiments = paths
    documents = {base: _read_mapping(base)}
    for path in experiments:
        read = _read_experiment(path)
        _check_one_corpus(read, experiments[0] if path != experiments[0] else None)
        for file, content in read.items():
            documents.pop(file, None)  # a file that is already under another one comes on top again
            documents[file] = content
    return documents


def _check_one_corpus(experiment: dict[Path, dict[str, Any]], under: Path | None) -> None:
    """Raise UserError if an experiment that is laid over another one brings a corpus of its own."""
    holders = [path for path, content in experiment.items() if DOWNLOAD in content]
    if under and holders:
        *_, path = experiment
        raise UserError(
            f"{holders[-1]}: {DOWNLOAD}: {path.stem} has a corpus of its own, so it cannot be laid over {under.stem}; "
            f"type EXP={path.stem} without DATA={under.stem}"
        )


def _read_experiment(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[Path, dict[str, Any]]:
    """Read the files that an experiment extends, then its own. Raise UserError if an experiment extends itself."""
    content = _read_mapping(path)
    if EXTENDS not in content:
        return {path: content}
    base = _extended(path, content.pop(EXTENDS))
    chain = (*extended_by, path)
    if base in chain:
        circle = " -> ".join(file.stem for file in (*chain[chain.index(base) :], base))
        raise UserError(f"{path}: {EXTENDS}: {circle} is a circle; remove one of these lines")
    return _read_experiment(base, chain) | {path: content}


def _extended(path: Path, name: object) -> Path:
    """Return the file of the experiment that `path` extends. Raise UserError if no experiment has this name."""
    if not isinstance(name, str) or not name or Path(name).name != name:
        example = f"{EXTENDS}: smoke{_quotes(name)}"
        raise UserError(f"{path}: {EXTENDS}: got {_show(name)}, expected the name of one experiment, as in {example}")
    base = path.with_name(f"{name}.yaml")
    if not base.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml") if file != path)
        raise UserError(f"{path}: {EXTENDS}: {base} is missing; {_proposal(name, known)}")
    return base


class _Loader(yaml.SafeLoader):
    """Reads YAML, and records keys that are not text or occur twice. PyYAML would silently take the last of these."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.problems: list[tuple[int, str]] = []  # line, what is wrong

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                self.problems.append((line, f"the key {key.value!r} is not text; put it in quotes"))
            elif key.value in lines:
                self.problems.append((line, f"{key.value!r} is already on line {lines[key.value]}; remove one of them"))
            else:
                lines[key.value] = line
        return super().construct_mapping(node, deep)


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        loader = _Loader(path.read_bytes())
        content = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UserError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, a number that is too long
        raise UserError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    if loader.problems:
        raise UserError("\n".join(f"{path}:{line}: {text}" for line, text in sorted(loader.problems)))
    if not isinstance(content, dict | None):
        raise UserError(
            f"{path}: got {_show(content)}, expected sections, such as `train:` with its settings indented below it"
        )
    return content or {}


def _overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` laid over it; mappings in both are merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if both else value
    return merged


def _format(mistake: Any, schema: dict[str, Any], documents: dict[Path, dict[str, Any]]) -> str:
    """Format an error of pydantic as `FILE: SETTING: what is wrong and what is expected`."""
    here, place = schema, []
    for key in mistake["loc"]:
        below = _child(here, key, schema)
        if below is not None:
            here = below
            place.append(key)
    match mistake["type"]:
        case "extra_forbidden":
            place.append(mistake["loc"][-1])
            known = [name for option in _alternatives(here, schema) for name in option.get("properties", {})]
            known += [EXTENDS] if here is schema else []
            text = f"no such setting; {_proposal(str(place[-1]), known)}"
        case "missing":
            text = f"is missing, expected {_expectation(here, schema)}"
        case "value_error":
            text = str(mistake["ctx"]["error"])
        case _:
            value = mistake["input"]
            text = f"got {_show(value)}, expected {_expectation(here, schema)}{_hint(value, here)}"
    name = ".".join(map(str, place))  # empty for a check across sections, whose text names the setting
    return ": ".join(filter(None, [str(_holder(place, documents)), name, text]))


def _child(node: dict[str, Any], key: Any, schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the JSON schema of a setting in `node`; None if `key` is pydantic's name of a member of a union."""
    for option in _alternatives(node, schema):
        if isinstance(key, int) and "items" in option:
            return _resolve(option["items"], schema)
        if key in option.get("properties", {}):
            return _resolve(option["properties"][key], schema)
        if isinstance(option.get("additionalProperties"), dict) and key != "[key]":
            return _resolve(option["additionalProperties"], schema)
    return None


def _alternatives(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the members of a union, or a list with the schema itself if it is not a union."""
    return [_resolve(option, schema) for option in node.get("anyOf", [node])]


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _expectation(node: dict[str, Any], schema: dict[str, Any]) -> str:
    """Describe the JSON schema of a setting: `a number >= 0 and < 1`."""
    node = _resolve(node, schema)
    if "anyOf" in node:
        return " or ".join(_expectation(option, schema) for option in _alternatives(node, schema))
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    if "const" in node:
        return repr(node["const"])
    limits = " and ".join(words.format(node[name]) for name, words in LIMITS.items() if name in node)
    items = f" (each {_expectation(node['items'], schema)})" if "items" in node else ""
    return f"{KINDS[node['type']]} {limits}".strip() + items


def _hint(value: Any, node: dict[str, Any]) -> str:
    """Return how to write the value that was probably meant, if YAML read another one."""
    kinds = {option.get("type") for option in node.get("anyOf", [node])}
    if isinstance(value, str) and kinds & {"integer", "number"}:
        number = re.fullmatch(r"([+-]?)0*(\d+)(\.\d*)?(?:e([+-]?)(\d+))?", value, re.IGNORECASE)
        if number is None or ("number" not in kinds and (number[3] or number[5])):
            return ""
        minus, whole, fraction, sign, power = number.groups()
        exponent = f"{fraction or '.0'}e{sign or '+'}{power}" if power else fraction or ""
        return f" (write {minus}{whole}{exponent})"
    if isinstance(value, bool) and "string" in kinds:
        return _quotes(value)
    return " (put it in quotes)" if "string" in kinds and not isinstance(value, str | list | dict | None) else ""


def _quotes(value: object) -> str:
    """Return how to write a word that YAML read as true or false; an empty string for any other value."""
    if not isinstance(value, bool):
        return ""
    words = "yes, on and true" if value else "no, off and false"
    return f" (YAML reads {words} as {value}: put it in quotes)"


def _proposal(name: str, known: list[str]) -> str:
    """Return a question with the known name that was probably meant, or else a list of all known names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else "expected one of: " + ", ".join(known)


def _holder(place: list[Any], documents: dict[Path, dict[str, Any]]) -> Path:
    """Return the last file that has the value at `place`. If none has it, return the one that has most of `place`."""
    depths = {path: _depth(content, place) for path, content in documents.items()}
    deepest = [path for path, depth in depths.items() if depth == max(depths.values())]
    return deepest[-1] if max(depths.values()) == len(place) else deepest[0]


def _depth(content: Any, place: list[Any]) -> int:
    """Return how many keys of `place` exist in `content`."""
    for depth, key in enumerate(place):
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(place)


def _show(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
