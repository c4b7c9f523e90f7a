"""Parameter descriptors for `ros2 param describe` and rqt, from the fields of the pydantic model."""

import math
from collections.abc import Collection
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.parameter import Parameter

EXCLUSIVE = {'gt': 'greater than', 'lt': 'less than'}  # ranges in ROS include their ends
FIXED = 'read when the node is configured: deactivate and clean up to change it'


def descriptor_of(
    name: str,
    field: FieldInfo,
    type_: Parameter.Type,
    changeable: Collection[str],
    read_once: Collection[str],
) -> ParameterDescriptor:
    """Describe type, range, choices, and when the parameter may change."""
    keys = ('ge', 'gt', 'le', 'lt', 'min_length')
    bounds = {key: getattr(rule, key) for rule in field.metadata for key in keys if hasattr(rule, key)}
    constraints = [f'{word} {bounds[key]:g}' for key, word in EXCLUSIVE.items() if key in bounds]
    if bounds.get('min_length'):
        constraints.append('not empty')
    if get_origin(field.annotation) is Literal:
        constraints.append(f'one of: {", ".join(map(str, get_args(field.annotation)))}')
    if name not in (*changeable, *read_once):
        constraints.append(FIXED)
    descriptor = ParameterDescriptor(
        name=name,
        type=type_.value,
        description=field.description or '',
        additional_constraints='; '.join(constraints),
        read_only=name in read_once,
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
