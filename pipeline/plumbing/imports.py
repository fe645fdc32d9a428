"""Find what a file needs, of the project and of libraries, by reading its imports: so nobody lists them by hand."""

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from .errors import UserError


def imported_files(start: Path) -> list[Path]:
    """`start` and every project file that it imports, however indirectly, and wherever in the code.

    A file that is named in a text, `"model_code.py"`, counts as well: such code is run or copied by its path.
    """
    root = _root(start)
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _needed(file, root)
    return sorted(found)


def distributions(files: Iterable[Path]) -> dict[str, str]:
    """The distributions that `files` import, with the versions installed here."""
    owners = metadata.packages_distributions()
    modules = {module for file in files for module in imported_modules(file)} & owners.keys()
    names = {module if module in owners[module] else owners[module][0] for module in modules}
    return {name: metadata.version(name) for name in sorted(names)}


def imported_modules(file: Path) -> set[str]:
    """Top-level names of the absolute imports of a source file, the standard library's left out."""
    modules: set[str] = set()
    for node in ast.walk(parse(file, file.read_bytes())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module.partition(".")[0])
    return modules - sys.stdlib_module_names


def parse(file: Path, source: bytes) -> ast.Module:
    """The syntax tree of a file's content; UserError where it has none, as in the middle of an edit."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise UserError(f"{file}:{error.lineno}: {error.msg}") from None


def _root(file: Path) -> Path:
    """The directory that the file's topmost package is in."""
    directory = file.parent
    while (directory / "__init__.py").is_file():
        directory = directory.parent
    return directory


def _needed(file: Path, root: Path) -> Iterator[Path]:
    """The project's files among what `file` names, with the `__init__.py` of each package on the way."""
    modules, files = _named(file, root, file.read_bytes())
    for module in modules:
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            path = root.joinpath(*parts[:length])
            yield from (f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file())
    yield from (f for name in files if (f := file.parent / name).is_file())


@cache
def _named(file: Path, root: Path, source: bytes) -> tuple[list[str], list[str]]:
    """The dotted names that a file's content imports, and the names of files in its texts."""
    nodes = list(ast.walk(parse(file, source)))
    path = file.relative_to(root).parts
    modules = [module for node in nodes for module in _modules(node, path)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return modules, [text for text in texts if text.endswith(".py")]


def _modules(node: ast.AST, file: Sequence[str]) -> Iterator[str]:
    """Dotted names; `from a import b` gives `a.b`, of which only `a` is a file where b is no module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = file[: -node.level] if node.level else ()
        base = [*package, node.module] if node.module else package
        yield from (".".join([*base, alias.name]) for alias in node.names)
