"""How policy and streamer are deployed: by the files of config/, as on a robot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from restac_ros.contract.schema import Contract
from restac_ros.control.streaming import StreamerConfig
from restac_ros.graph import SIM_ROBOT
from restac_ros.installation import PACKAGE, config_file, find_package
from restac_ros.parameter_file import check_parameter_file, known_parameters, read_sections
from restac_ros.runtime.node_parameters import NodeParameters, ParameterError
from restac_ros.runtime.policy_parameters import PolicyParameters
from restac_ros.runtime.runtime_products import RuntimeSettings
from restac_ros.runtime.streamer_parameters import StreamerParameters
from restac_ros.sim.cell.cell_loop import TICK_NS
from restac_ros.sim.cell.parameters import CellError

_FILES = ('policy.yaml', 'streamer.yaml')
_NODES = ('/policy_node', '/streamer_node')
_MOST_HZ = 1e9 / TICK_NS


@dataclass(frozen=True)
class Deployment:
    """What an attempt runs with.

    Attributes:
        policy: parameters of policy_node.
        settings: of the loops.
        streamer: of control.
        period_ns: of set-points.
        gripper_deadband_m: smaller changes of the opening are not commanded.
        changed: parameters that differ from the installed ones, by node and name: 'installed' and 'here'.
    """

    policy: PolicyParameters
    settings: RuntimeSettings
    streamer: StreamerConfig
    period_ns: int
    gripper_deadband_m: float
    changed: Mapping[str, Mapping[str, object]]


def read_deployment(folder: Path, contract: Contract, prompt: str) -> Deployment:
    """Return the deployment that policy.yaml and streamer.yaml in `folder` describe, in the cell.

    What they do not name is as in the installed files, as with `--params-file`; without an installation they
    must name all. `prompt` is the task.

    Raises:
        ParameterFileError: a file cannot be read, or has a name that no node has.
        CellError: a value is not allowed, or there is nothing of the kind in the cell's closed loop.
        LimitError: limits that contradict each other.
    """
    defaults = config_file('') if find_package(PACKAGE) else folder
    known = known_parameters(defaults)
    for name in _FILES:
        check_parameter_file(folder / name, _NODES, known)
    installed = [defaults / name for name in _FILES]
    places = [*installed, *(folder / name for name in _FILES)]
    policy = _parameters(PolicyParameters, places, _NODES[0], known, {'prompt': prompt})
    streamer = _parameters(StreamerParameters, places, _NODES[1], known, SIM_ROBOT)
    _check_simulated(folder, policy, streamer)
    try:
        settings = policy.settings()
    except ParameterError as error:
        raise CellError(f'{folder / _FILES[0]}: {error}') from error
    return Deployment(
        policy,
        settings,
        streamer.control(contract),
        round(1e9 / streamer.rate_hz),
        streamer.gripper_deadband_m,
        {
            **_changed(policy, installed, _NODES[0], known, {'prompt': prompt}),
            **_changed(streamer, installed, _NODES[1], known, SIM_ROBOT),
        },
    )


def _parameters[Model: NodeParameters](
    model: type[Model],
    files: Sequence[Path],
    node: str,
    known: Mapping[str, frozenset[str]],
    given: Mapping[str, object],
) -> Model:
    """Return what a node is told by files, of which later ones replace earlier ones, and by `given`."""
    values: dict[str, object] = {}
    told_by: dict[str, Path] = {}
    for path in files:
        for section in read_sections(path):
            own = known[node.strip('/')] & section.values.keys() if section.reaches(node) else ()
            values |= {name: section.values[name] for name in own}
            told_by |= dict.fromkeys(own, path)
    values |= given
    if faults := model.faults_of(values):
        named = '; '.join(f'{told_by.get(name, files[-1].parent)}: {fault}' for name, fault in faults.items())
        raise CellError(f'{named}; correct it, or leave it out for the default')
    return model.from_values(values)


def _changed(
    parameters: NodeParameters,
    installed: Sequence[Path],
    node: str,
    known: Mapping[str, frozenset[str]],
    given: Mapping[str, object],
) -> dict[str, dict[str, object]]:
    """Return those that differ from what the installed files and `given` say."""
    before = _parameters(type(parameters), installed, node, known, given).model_dump(mode='json')
    return {
        f'{node.strip("/")}.{name}': {'installed': before[name], 'here': value}
        for name, value in parameters.model_dump(mode='json').items()
        if value != before[name]
    }


def _check_simulated(folder: Path, policy: PolicyParameters, streamer: StreamerParameters) -> None:
    """Refuse what the cell's closed loop does not do, rather than leave it out."""
    found = {
        'planner': (policy.planner, False),
        'tokenizer': (policy.tokenizer, None),
        'dtype': (policy.dtype, 'checkpoint'),
        'deadman_topic': (streamer.deadman_topic, ''),
    }
    changed = [f'{name} {value}' for name, (value, default) in found.items() if value != default]
    if changed:
        raise CellError(
            f'{folder}: found {", ".join(changed)}, expected their defaults: policies are evaluated in the '
            'cell without them; leave them out'
        )
    if streamer.rate_hz > _MOST_HZ:
        raise CellError(
            f"{folder / _FILES[1]}: parameter 'rate_hz' is {streamer.rate_hz:g}, expected {_MOST_HZ:g} at "
            "most: the cell's closed loop ticks no faster; lower it"
        )
