"""Node parameters: one strictly checked model per node, whose defaults stand in config/<node>.yaml only."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_dict_from_yaml_file

from restac_ros.contract.errors import did_you_mean
from restac_ros.graph import config_file

# Every node has these from rcl; they are none of ours.
RCL_PARAMETERS = ('use_sim_time', 'start_type_description_service')
RCL_PREFIXES = ('qos_overrides.',)


class ParameterError(ValueError):
    """Parameters are refused; the text names each, its value, what was expected, the nearest known name."""


def _path(value: object) -> object:
    """ROS has no absent parameter: an empty text stands for one."""
    return (Path(value).expanduser() if value else None) if isinstance(value, str) else value


OptionalPath = Annotated[Path | None, BeforeValidator(_path)]
Milliseconds = Annotated[float, Field(ge=0, le=600_000)]


class NodeParameters(BaseModel):
    """What every node of this package can be told. Subclasses add their own."""

    model_config = ConfigDict(frozen=True, extra='forbid', strict=True, allow_inf_nan=False)
    changeable: ClassVar[frozenset[str]] = frozenset()

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
    def from_values(cls, values: dict[str, object]) -> Self:
        """Check values by name.

        Raises:
            ParameterError: naming every fault.
        """
        known = cls.model_fields
        faults = [
            f'unknown parameter {name!r}; {did_you_mean(name, known)}' for name in values if name not in known
        ]
        faults += [
            f'parameter {name!r} is not given; pass -p {name}:=...' for name in known if name not in values
        ]
        try:
            return cls(**values)
        except ValidationError as error:
            faults += [
                _fault(problem)
                for problem in error.errors()
                if problem['loc'] and problem['loc'][0] in values and problem['type'] != 'extra_forbidden'
            ]
            faults = faults or [str(error)]
        raise ParameterError('; '.join(faults))


def _fault(problem: dict) -> str:
    return f'parameter {str(problem["loc"][0])!r} is {problem["input"]!r}: {problem["msg"]}'


def declare_parameters(node: Node, model: type[NodeParameters], defaults_file: Path) -> None:
    """Declare all parameters of `model` that the command line hasn't set, with the defaults of a YAML file.

    The node must have been made with `automatically_declare_parameters_from_overrides`: what it was given,
    known to us or not, is declared already.
    """
    defaults = parameter_dict_from_yaml_file(str(defaults_file), use_wildcard=True)
    for name, field in model.model_fields.items():
        descriptor = ParameterDescriptor(description=field.description or '', dynamic_typing=True)
        if node.has_parameter(name):
            node.set_descriptor(name, descriptor)
        elif name in defaults:
            node.declare_parameter(name, Parameter.from_parameter_msg(defaults[name]).value, descriptor)


def read_parameters(node: Node, model: type[NodeParameters]) -> NodeParameters:
    """The node's parameters as checked values.

    Raises:
        ParameterError: naming every fault.
    """
    return model.from_values(_values(node))


def judge_changes(node: Node, model: type[NodeParameters], changes: list[Parameter]) -> SetParametersResult:
    """Whether a configured node's parameters may change: those in `model.changeable`, to valid values."""
    ours = [change for change in changes if change.name in model.model_fields]
    if fixed := [change.name for change in ours if change.name not in model.changeable]:
        reason = f'{", ".join(fixed)} is read when the node is configured: deactivate and clean up first'
        return SetParametersResult(successful=False, reason=reason)
    try:
        model.from_values(_values(node) | {change.name: change.value for change in ours})
    except ParameterError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def _values(node: Node) -> dict[str, object]:
    """All parameters of a node that aren't rcl's."""
    values = {name: parameter.value for name, parameter in node.get_parameters_by_prefix('').items()}
    return {name: value for name, value in values.items() if not _is_rcl(name)}


def _is_rcl(name: str) -> bool:
    return name in RCL_PARAMETERS or name.startswith(RCL_PREFIXES)
