"""YAML text -> Contract: strictly, with every fault's line, value, expectation and nearest known name."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from restac_ros.contract.errors import ContractError, Problem, did_you_mean
from restac_ros.contract.schema import STREAM_MODELS, Contract

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16


def in_root_namespace(topic: str) -> str:
    """A topic's full name in a graph without namespaces, to which relative names are expanded."""
    return topic if topic.startswith('/') else f'/{topic}'


def load_contract(path: Path | str, resolve: Callable[[str], str] = in_root_namespace) -> Contract:
    """Read a contract file; `resolve` expands its topics, which nodes do by namespace and remappings.

    Raises:
        ContractError: naming the file and everything wrong with it.
    """
    path = Path(path)
    if path.is_dir():
        raise ContractError([Problem('', 'found a directory, expected a YAML file')], str(path))
    if not path.is_file():
        beside = sorted(str(p) for p in path.parent.glob('*.yaml')) if path.parent.is_dir() else []
        known = f'; YAML files beside it: {", ".join(beside)}' if beside else ''
        raise ContractError([Problem('', f'no such file{known}')], str(path))
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ContractError([Problem('', f'{size} bytes; a contract has at most {MAX_BYTES}')], str(path))
    try:
        text = path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ContractError([Problem('', f'not UTF-8 text: {error}')], str(path)) from error
    return parse_contract(text, str(path)).with_topics(resolve)


def parse_contract(text: str, source: str = '<text>') -> Contract:
    """Read a contract from YAML text; `source` names it in error messages."""
    if len(text) > MAX_BYTES:
        problem = Problem('', f'{len(text)} characters; a contract has at most {MAX_BYTES}')
        raise ContractError([problem], source)
    try:
        values, lines = _read_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        message = f'not valid YAML: {getattr(error, "problem", None) or error}'
        raise ContractError([Problem('', message, mark.line + 1 if mark else None)], source) from error
    except ContractError as error:
        raise ContractError(error.problems, source) from None
    try:
        return Contract.model_validate(values)
    except ValidationError as error:
        problems = [problem for details in error.errors() for problem in _problems(details)]
    placed = [_placed(problem, lines) for problem in problems]
    raise ContractError(sorted(placed, key=lambda problem: problem.line or 0), source)


def dump_contract(contract: Contract) -> str:
    """YAML text that `parse_contract` reads back to an equal contract."""
    return yaml.safe_dump(contract.model_dump(mode='json', exclude_none=True), sort_keys=False)


class _Loader(yaml.SafeLoader):
    """SafeLoader without anchors (a few lines of them can stand for gigabytes) and with bounded nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        refused = None
        if self.check_event(yaml.AliasEvent):
            refused = 'aliases are not read: write the values out'
        elif self.depth > MAX_DEPTH:
            refused = f'nested deeper than {MAX_DEPTH}'
        if refused:
            raise yaml.MarkedYAMLError(problem=refused, problem_mark=self.peek_event().start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _read_yaml(text: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The document, and the line on which each dotted path stands."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            expected = 'expected a mapping of keys such as schema_version, fps, streams'
            raise ContractError([Problem('', expected)])
        lines: dict[str, int] = {}
        repeated = []
        for path, line in _key_lines(root):
            if path in lines:
                repeated.append(Problem(path, f'repeated; first given on line {lines[path]}', line))
            lines.setdefault(path, line)
        if repeated:
            raise ContractError(repeated)
        return loader.construct_document(root), lines
    finally:
        loader.dispose()


def _key_lines(node: yaml.Node, path: str = '') -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            dotted = f'{path}.{key.value}' if path else str(key.value)
            yield dotted, key.start_mark.line + 1
            yield from _key_lines(value, dotted)


def _problems(details: ErrorDetails) -> Iterator[Problem]:
    """Restate one pydantic error in the contract's own terms."""
    cause = details.get('ctx', {}).get('error')
    if isinstance(cause, ContractError):
        yield from cause.problems
        return
    path = _path(details['loc'])
    found = f'found {_shown(details["input"])}'
    name = str(details['loc'][-1]) if details['loc'] else ''
    match details['type']:
        case 'extra_forbidden':
            known = _known_keys(details['loc'][:-1])
            yield Problem('.'.join(path), f'unknown key; {did_you_mean(name, known)}')
        case 'missing':
            yield Problem('.'.join(path), 'missing')
        case 'union_tag_not_found':
            yield Problem('.'.join([*path, 'role']), f'missing; {did_you_mean("", STREAM_MODELS)}')
        case 'union_tag_invalid':
            role = str(details['ctx']['tag'])
            yield Problem('.'.join([*path, 'role']), f'found {role!r}; {did_you_mean(role, STREAM_MODELS)}')
        case 'literal_error':
            expected = details['ctx']['expected']
            names = re.findall(r"'([^']*)'", expected)
            hint = did_you_mean(str(details['input']), names) if names else f'expected {expected}'
            yield Problem('.'.join(path), f'{found}; {hint}')
        case 'dict_type' | 'model_type' | 'model_attributes_type':
            yield Problem('.'.join(path), f'{found}; expected a mapping of keys')
        case _:
            message = re.sub(r'^(Input|Value|String|Tuple) (should|error,?) ?(be )?', '', details['msg'])
            message = message.removeprefix('expected ')
            yield Problem('.'.join(path), f'{found}; expected {message}')


def _path(location: tuple[int | str, ...]) -> list[str]:
    """A pydantic location without the markers it inserts for union branches and mapping keys."""
    path = [str(part) for part in location if part != '[key]']
    if path[:1] == ['streams'] and len(path) > 2 and path[2] in STREAM_MODELS:
        del path[2]
    return path


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Keys that the mapping at a pydantic location may have."""
    if location[:1] == ('streams',):
        return list(STREAM_MODELS[str(location[2])].model_fields)
    model: type[BaseModel] = Contract
    for key in location:
        annotation = model.model_fields[str(key)].annotation
        choices = (annotation, *get_args(annotation))  # a section may be optional
        model = next(
            choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)
        )
    return list(model.model_fields)


def _shown(value: object) -> str:
    """A found value, short, with its type where YAML may surprise (`fps: "15"`, `rate: 1e-3`)."""
    text = repr(value)
    text = text if len(text) <= 80 else f'{text[:77]}...'
    if isinstance(value, str):
        exponent = re.fullmatch(r'[-+]?[0-9.]+[eE][-+]?[0-9]+', value)
        return f'{text} (text{"; YAML wants a point and a sign, as in 1.0e+3" if exponent else ""})'
    return text


def _placed(problem: Problem, lines: dict[str, int]) -> Problem:
    """Add the line of the problem's path, or of the nearest enclosing key that the file has."""
    path = problem.path
    while path and path not in lines:
        path = path.rpartition('.')[0]
    return problem._replace(line=problem.line or lines.get(path))
