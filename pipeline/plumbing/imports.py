"""Find the project files and the libraries that a file needs, by reading its imports."""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from .errors import UserError


def imported_files(start: Path) -> list[Path]:
    """Return `start` and every project file that it imports, directly or indirectly, anywhere in the code.

    A string that names a Python file, such as `"model_code.py"`, counts as an import: such code is run by its path.
    """
    root = _root(start)
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _project_imports(file, root)
    return sorted(found)


def distributions(files: Iterable[Path]) -> dict[str, str]:
    """Return the distributions that `files` import, with the installed versions."""
    owners = _owners()
    modules = {module for file in files for module in imported_modules(file)} & owners.keys()
    names = {module if module in owners[module] else owners[module][0] for module in modules}
    return {name: metadata.version(name) for name in sorted(names)}


@cache
def _owners() -> Mapping[str, list[str]]:
    """Return the installed distributions of each top-level module. Reading them takes half a second."""
    return metadata.packages_distributions()


def imported_modules(file: Path) -> set[str]:
    """Return the top-level names of a file's absolute imports, without the standard library."""
    modules: set[str] = set()
    for node in ast.walk(parse(file, file.read_bytes())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module.partition(".")[0])
    return modules - sys.stdlib_module_names


def parse(file: Path, source: bytes) -> ast.Module:
    """Parse the content of a file. Raise UserError if it is not valid Python, for example in the middle of an edit."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise UserError(f"{file}:{error.lineno}: {error.msg}") from None


def _root(file: Path) -> Path:
    """Return the directory that contains the file's top-level package."""
    directory = file.parent
    while (directory / "__init__.py").is_file():
        directory = directory.parent
    return directory


def _project_imports(file: Path, root: Path) -> Iterator[Path]:
    """Yield the project files that `file` imports, with the `__init__.py` of each package above them."""
    modules, files = _imported_names(file, root, file.read_bytes())
    for module in modules:
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            path = root.joinpath(*parts[:length])
            yield from (f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file())
    yield from (f for name in files if (f := file.parent / name).is_file())


@cache
def _imported_names(file: Path, root: Path, source: bytes) -> tuple[list[str], list[str]]:
    """Return the dotted names that a file imports, and the names of Python files in its strings."""
    nodes = list(ast.walk(parse(file, source)))
    path = file.relative_to(root).parts
    modules = [module for node in nodes for module in _modules(node, path)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return modules, [text for text in texts if text.endswith(".py")]


def _modules(node: ast.AST, file: Sequence[str]) -> Iterator[str]:
    """Yield the dotted names of an import. `from a import b` gives `a.b`, even if b is not a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = file[: -node.level] if node.level else ()
        base = [*package, node.module] if node.module else package
        yield from (".".join([*base, alias.name]) for alias in node.names)
