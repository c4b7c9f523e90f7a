"""Checks users' ROS parameter files: which section reaches which node, and whether the names are known.

rcl ignores sections and names that match no node without a message: a typing error would lose a limit.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from restac_ros.contract.errors import did_you_mean
from restac_ros.whole_files import read_bounded

PARAMETERS = 'ros__parameters'
# Every node has these from rcl and rclpy; they are none of ours.
RCL_PARAMETERS = ('use_sim_time', 'start_type_description_service')
RCL_PREFIXES = ('qos_overrides.',)
_MAX_BYTES = 1_000_000


class ParameterFileError(ValueError):
    """A parameter file is refused; the text names the file, what was found and the remedy."""


class Section(NamedTuple):
    """Parameters for the nodes whose full name matches: `/**/policy_node`, `/left/policy_node`, `/**`."""

    pattern: str
    values: Mapping[str, object]

    @property
    def node(self) -> str:
        """Return the node's name without its namespace; empty where the section is for nodes of any name."""
        name = self.pattern.rpartition('/')[2]
        return '' if '*' in name else name

    def reaches(self, full_name: str) -> bool:
        """Return whether a node of this full name gets the section, by rcl: * is one name, ** any number."""
        parts = [part for part in self.pattern.split('/') if part]
        kinds = {'**': r'(?:/\w+)*', '*': r'/\w+'}
        return bool(
            re.fullmatch(''.join(kinds.get(part, f'/{re.escape(part)}') for part in parts), full_name)
        )


def is_rcl(name: str) -> bool:
    """Return whether a parameter is one that every node has."""
    return name in RCL_PARAMETERS or name.startswith(RCL_PREFIXES)


def read_sections(path: Path) -> list[Section]:
    """Read the sections of a parameter file.

    Raises:
        ParameterFileError: the file cannot be read, or is no ROS parameter file.
    """
    try:
        text = read_bounded(
            path,
            _MAX_BYTES,
            ParameterFileError,
            what='parameter file',
            remedy='name a file of ROS parameters',
        )
        content = yaml.safe_load(text.decode('utf-8'))
    except OSError as error:
        raise ParameterFileError(
            f'parameter file {path}: {error.strerror}; name a file that can be read'
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterFileError(f'parameter file {path} is not valid YAML: {error}') from error
    sections = list(_sections(content, '')) if isinstance(content, dict) else []
    if not sections:
        raise ParameterFileError(
            f'parameter file {path} has no {PARAMETERS}; '
            f'expected /**/policy_node: {{{PARAMETERS}: {{NAME: VALUE}}}}'
        )
    return sections


def known_parameters(folder: Path) -> dict[str, frozenset[str]]:
    """Return the parameters' names of each node of this package, from the files of defaults in `folder`."""
    return {
        section.node: frozenset(section.values)
        for path in sorted(folder.glob('*.yaml'))
        if PARAMETERS in path.read_text(encoding='utf-8')
        for section in read_sections(path)
    }


def check_parameter_file(path: Path, nodes: Sequence[str], known: Mapping[str, frozenset[str]]) -> None:
    """Refuse a file with a section or name that reaches no node.

    `nodes` are full names of nodes, `known` the parameters of each node of this package.

    Sections of nodes that the run does not start, of this package or another, are left alone.

    Raises:
        ParameterFileError: names every such section and parameter.
    """
    sections = read_sections(path)
    faults = [fault for section in sections for fault in _unknown_names(section, known)]
    for full_name in nodes:
        own = [section for section in sections if section.node == full_name.rpartition('/')[2]]
        if own and not any(section.reaches(full_name) for section in own):
            found = ', '.join(repr(section.pattern) for section in own)
            faults.append(f'{found} does not reach {full_name}; write /**/{own[0].node}')
    if faults:
        raise ParameterFileError(f'parameter file {path}: {"; ".join(faults)}')


def unknown_parameter(name: str, node: str, known: Mapping[str, frozenset[str]]) -> str:
    """Describe a name that `node` does not have; with an empty `node`, that none has."""
    owners = [owner for owner, names in known.items() if name in names]
    if owners:
        return f'{node} has no parameter {name!r}, but {", ".join(owners)} has: move it to that section'
    names = known[node] if node else frozenset().union(*known.values())
    return f'unknown parameter {name!r}; {did_you_mean(name, sorted(names))}'


def _sections(content: Mapping[object, object], above: str) -> Iterator[Section]:
    for key, value in content.items():
        pattern = f'{above}/{str(key).strip("/")}'
        if not isinstance(value, dict):
            continue
        if PARAMETERS in value:
            yield Section(pattern, dict(_flat(value[PARAMETERS] or {}, '')))
        else:
            yield from _sections(value, pattern)


def _flat(values: Mapping[object, object], above: str) -> Iterator[tuple[str, object]]:
    """Join nested names by a dot."""
    for key, value in values.items():
        name = f'{above}{key}'
        if isinstance(value, dict):
            yield from _flat(value, f'{name}.')
        else:
            yield name, value


def _unknown_names(section: Section, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    node = section.node
    if node and node not in known:
        if near := difflib.get_close_matches(node, known, n=1):
            yield f'section {section.pattern!r} reaches no node; did you mean {near[0]!r}?'
        return
    names = known[node] if node else frozenset().union(*known.values())
    for name in section.values:
        if name not in names and not is_rcl(name):
            yield unknown_parameter(name, node, known)
