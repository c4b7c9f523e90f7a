"""Node parameters: one strictly checked model per node, with defaults in config/<node>.yaml only."""

import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args, get_origin

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

from restac_ros.parameter_file import is_rcl, known_parameters, read_sections
from restac_ros.runtime.node_parameters import NodeParameters

EXCLUSIVE = {'gt': 'greater than', 'lt': 'less than'}  # ranges in ROS include their ends
FIXED = 'read when the node is configured: deactivate and clean up to change it'


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


def read_parameters[P: NodeParameters](node: Node, model: type[P]) -> P:
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
