"""Node parameters: one strictly checked model per node, with defaults in config/<node>.yaml only."""

import math
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    ParameterValue,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_dict_from_yaml_file

from restac_ros.contract.errors import did_you_mean
from restac_ros.installation import config_file
from restac_ros.parameter_file import is_rcl, known_parameters, read_sections

EXCLUSIVE = {'gt': 'greater than', 'lt': 'less than'}  # ranges in ROS include their ends
FIXED = 'read when the node is configured: deactivate and clean up to change it'


class ParameterError(ValueError):
    """Parameters are refused; the text names each, its value, what was expected, the nearest known name."""


def _path(value: object) -> object:
    """ROS has no absent parameter: an empty text stands for one."""
    return (Path(value).expanduser() if value else None) if isinstance(value, str) else value


OptionalPath = Annotated[Path | None, BeforeValidator(_path)]
Milliseconds = Annotated[float, Field(ge=0, le=600_000)]


class NodeParameters(BaseModel):
    """Parameters of every node of this package. Subclasses add their own."""

    model_config = ConfigDict(frozen=True, extra='forbid', strict=True, allow_inf_nan=False)
    changeable: ClassVar[frozenset[str]] = frozenset()  # while the node is configured
    read_once: ClassVar[frozenset[str]] = frozenset({'autostart'})  # when the process starts, never again

    autostart: bool = Field(description='configure and activate without being asked by `ros2 lifecycle set`')
    exit_on_refusal: bool = Field(
        description='end the process with status 1 when the node cannot be configured'
    )
    contract: OptionalPath = Field(
        description='robot facts (YAML); empty: the installed config/contract.yaml'
    )
    summary_file: OptionalPath = Field(
        description='JSON with counts and latencies, written at the end; empty: none'
    )
    run_id: str = Field(description='run that the node belongs to; empty: one of its own')

    @property
    def contract_path(self) -> Path:
        """The contract to read; GraphError when the installed one is asked for but nothing is installed."""
        return self.contract or config_file('contract.yaml')

    @classmethod
    def faults_of(cls, values: Mapping[str, object]) -> dict[str, str]:
        """Faults by parameter: unknown, not given, or of a value that is not allowed."""
        faults: dict[str, str] = {}
        try:
            cls.model_validate(values)
        except ValidationError as error:
            for problem in error.errors():
                name = str(problem['loc'][0])
                match problem['type']:
                    case 'extra_forbidden':
                        found = f'unknown parameter {name!r}; {did_you_mean(name, cls.model_fields)}'
                    case 'missing':
                        found = f'parameter {name!r} is not given; pass -p {name}:=...'
                    case _:
                        found = f'parameter {name!r} is {problem["input"]!r}: {problem["msg"]}'
                faults.setdefault(name, found)
        return faults

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> Self:
        """Check values by name.

        Raises:
            ParameterError: naming every fault.
        """
        if faults := cls.faults_of(values):
            raise ParameterError('; '.join(faults.values()))
        return cls.model_validate(values)


def texts_of(value: object) -> tuple[str, ...]:
    """Return a list of texts, short of empty ones: a list of parameters cannot be empty.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError('expected a list of texts')
    return tuple(text.strip() for text in value if text.strip())


def declare_parameters(node: Node, model: type[NodeParameters], defaults_file: Path) -> None:
    """Declare all parameters of `model` that the command line has not set, with the defaults of a YAML file.

    The node must have been created with `automatically_declare_parameters_from_overrides`, which declares
    given parameters, known to the model or not. A value of another type, or out of range, is kept until the
    node is configured, and refused then with all others.
    """
    defaults = parameter_dict_from_yaml_file(str(defaults_file))
    for name, field in model.model_fields.items():
        default = Parameter.from_parameter_msg(defaults[name])
        descriptor = _descriptor_of(name, field, default.type_, model)
        if not node.has_parameter(name):
            node.declare_parameter(name, default.value, descriptor)
            continue
        given, as_real = node.get_parameter(name), None
        if given.type_ is Parameter.Type.INTEGER and default.type_ is Parameter.Type.DOUBLE:
            as_real = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=float(given.value))
        try:
            node.set_descriptor(name, descriptor, as_real)
        except InvalidParameterValueException:
            anything = ParameterDescriptor(description=descriptor.description, dynamic_typing=True)
            node.set_descriptor(name, anything)
    _leave_to_others(node, model, defaults_file.parent)


def _descriptor_of(
    name: str, field: FieldInfo, type_: Parameter.Type, model: type[NodeParameters]
) -> ParameterDescriptor:
    """Describe type, range, choices, and when the parameter may change, for `ros2 param describe` and rqt."""
    keys = ('ge', 'gt', 'le', 'lt', 'min_length')
    bounds = {key: getattr(rule, key) for rule in field.metadata for key in keys if hasattr(rule, key)}
    constraints = [f'{word} {bounds[key]:g}' for key, word in EXCLUSIVE.items() if key in bounds]
    if bounds.get('min_length'):
        constraints.append('not empty')
    if get_origin(field.annotation) is Literal:
        constraints.append(f'one of: {", ".join(map(str, get_args(field.annotation)))}')
    if name not in model.changeable | model.read_once:
        constraints.append(FIXED)
    descriptor = ParameterDescriptor(
        name=name,
        type=type_.value,
        description=field.description or '',
        additional_constraints='; '.join(constraints),
        read_only=name in model.read_once,
    )
    low, high = bounds.get('ge', bounds.get('gt')), bounds.get('le', bounds.get('lt'))
    if low is None and high is None:
        return descriptor
    if type_ is Parameter.Type.INTEGER:
        low, high = -(2**63) if low is None else low, 2**63 - 1 if high is None else high
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
    elif type_ is Parameter.Type.DOUBLE:
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor


def _leave_to_others(node: Node, model: type[NodeParameters], config: Path) -> None:
    """Undeclare parameters of other nodes that a section for all nodes (`/**`) has set here, too."""
    unknown = [name for name in _values(node) if name not in model.model_fields]
    if not unknown:
        return
    files = [Path(value) for option, value in pairwise(sys.argv) if option == '--params-file']
    sections = [section for path in files for section in read_sections(path)]
    of_this_node = {
        name
        for section in sections
        if section.node and section.reaches(node.get_fully_qualified_name())
        for name in section.values
    }
    of_all_nodes = {name for section in sections if not section.node for name in section.values}
    of_others = frozenset().union(*known_parameters(config).values())
    for name in unknown:
        if name in of_all_nodes and name in of_others and name not in of_this_node:
            node.undeclare_parameter(name)


def read_parameters(node: Node, model: type[NodeParameters]) -> NodeParameters:
    """The node's parameters as checked values.

    Raises:
        ParameterError: naming every fault.
    """
    return model.from_values(_values(node))


def judge_changes(
    node: Node, model: type[NodeParameters], changes: list[Parameter], configured: bool
) -> SetParametersResult:
    """Check changes: values must be valid; a configured node changes `model.changeable` only."""
    ours = {change.name: change.value for change in changes if not is_rcl(change.name)}
    if configured and (fixed := [name for name in ours if name not in model.changeable]):
        reason = f'{", ".join(fixed)} is read when the node is configured: deactivate and clean up first'
        return SetParametersResult(successful=False, reason=reason)
    faults = model.faults_of(_values(node) | ours)
    reasons = [fault for name, fault in faults.items() if name in ours]
    return SetParametersResult(successful=not reasons, reason='; '.join(reasons))


def without_unchanged(node: Node, parameters: list[Parameter]) -> list[Parameter]:
    """Parameters with new values; integers become floats where these are declared."""
    changed = []
    for given in parameters:
        parameter = given
        if node.has_parameter(given.name):
            present = node.get_parameter(given.name)
            if present.type_ is Parameter.Type.DOUBLE and given.type_ is Parameter.Type.INTEGER:
                parameter = Parameter(given.name, Parameter.Type.DOUBLE, float(given.value))
            if (parameter.type_, parameter.value) == (present.type_, present.value):
                continue
        changed.append(parameter)
    return changed


def _values(node: Node) -> dict[str, object]:
    """All parameters of a node that aren't rcl's."""
    names = [name for name in node.get_parameters_by_prefix('') if not is_rcl(name)]
    return {name: node.get_parameter(name).value for name in names}
