"""The package's structure in numbers: small modules and functions, and one name for one thing."""

import ast
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

MAX_MODULE_LINES, MAX_MEDIAN_LINES, MAX_FUNCTION_LINES = 400, 120, 60
PROGRAMS = {'main'}  # what starts a program is named so in each


def modules(package: Path) -> Iterator[tuple[str, str]]:
    """The relative path and text of each module, short of package initialisers."""
    for file in sorted(package.rglob('*.py')):
        if file.name != '__init__.py':
            yield file.relative_to(package).as_posix(), file.read_text(encoding='utf-8')


def long_functions(package: Path, limit: int = MAX_FUNCTION_LINES) -> list[str]:
    """Functions of more than `limit` lines, with their length."""
    found = []
    for path, text in modules(package):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > limit:
                    found.append(f'{path}: {node.name} has {lines} lines')
    return found


def public_names(text: str) -> set[str]:
    """Classes, functions, types and constants that a module defines at its top level, if public."""
    found = set()
    for node in ast.parse(text).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.TypeAlias(name=ast.Name(id=name)):
                found.add(name)
            case ast.Assign(targets=targets):
                found |= {part.id for one in targets for part in ast.walk(one) if isinstance(part, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return {name for name in found if not name.startswith('_')}


def names_defined_twice(package: Path) -> dict[str, list[str]]:
    """Public names that several modules define, with those modules."""
    places = defaultdict(list)
    for path, text in modules(package):
        for name in public_names(text):
            places[name].append(path)
    return {name: paths for name, paths in sorted(places.items()) if len(paths) > 1 and name not in PROGRAMS}


def test_no_module_is_long_and_half_of_them_are_short(repository: Path) -> None:
    lines = {path: len(text.splitlines()) for path, text in modules(repository / 'restac_ros')}
    assert {path: count for path, count in lines.items() if count > MAX_MODULE_LINES} == {}
    assert statistics.median(lines.values()) <= MAX_MEDIAN_LINES


def test_no_function_is_long(repository: Path) -> None:
    assert long_functions(repository / 'restac_ros') == []


def test_no_public_name_is_defined_twice(repository: Path) -> None:
    assert names_defined_twice(repository / 'restac_ros') == {}


def test_the_checks_find_what_they_are_for(tmp_path: Path) -> None:
    (tmp_path / 'a.py').write_text('LIMIT, _OWN = 1, 2\n\n\ndef f():\n    a = 1\n    return a\n')
    (tmp_path / 'b.py').write_text('LIMIT: int = 1\n_OWN = 3\ntype Pair = tuple\n\n\nclass f: ...\n')
    assert names_defined_twice(tmp_path) == {'LIMIT': ['a.py', 'b.py'], 'f': ['a.py', 'b.py']}
    assert public_names('type Pair = tuple') == {'Pair'}
    assert long_functions(tmp_path, limit=2) == ['a.py: f has 3 lines']
