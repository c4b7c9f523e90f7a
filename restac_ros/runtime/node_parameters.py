"""What parameters of nodes have in common: strictly checked values by name, without ROS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from restac_ros.contract.errors import did_you_mean
from restac_ros.installation import config_file


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
