"""Files of policy and streamer for the cell: read as on a robot, nothing in them is lost by a slip."""

from pathlib import Path

import pytest

from restac_ros.contract.schema import Contract
from restac_ros.parameter_file import ParameterFileError
from restac_ros.sim.cell.parameters import CellError
from restac_ros.sim.evaluation.deployment_files import Deployment, read_deployment

PROMPT = 'insert the plug'


def folder_with(tmp_path: Path, policy: str = '', streamer: str = '') -> Path:
    for node, values in (('policy', policy), ('streamer', streamer)):
        text = f'/**/{node}_node: {{ros__parameters: {{{values}}}}}\n'
        (tmp_path / f'{node}.yaml').write_text(text)
    return tmp_path


def test_what_a_file_leaves_out_is_as_installed(
    contract: Contract, deployment: Deployment, tmp_path: Path
) -> None:
    assert read_deployment(folder_with(tmp_path), contract, PROMPT) == deployment
    changed = read_deployment(folder_with(tmp_path, 'replan_hz: 5.0', 'rate_hz: 50'), contract, PROMPT)
    assert changed.settings.replan_period_ns == 200_000_000
    assert changed.settings.chunk_validity_ns == deployment.settings.chunk_validity_ns
    assert changed.period_ns == 20_000_000
    assert changed.streamer == deployment.streamer


def test_one_file_may_serve_all_nodes(contract: Contract, tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    (folder / 'policy.yaml').write_text(
        '/**: {ros__parameters: {replan_hz: 5.0, fade_ms: 50.0, use_sim_time: true}}\n'
        '/streamer_node: {ros__parameters: {rate_hz: 50.0}}\n'
    )
    read = read_deployment(folder, contract, PROMPT)
    assert (read.policy.replan_hz, read.streamer.continuity.fade_ns, read.period_ns) == (5.0, 50e6, 20e6)


@pytest.mark.parametrize(
    ('policy', 'streamer', 'reason'),
    [
        ('replan_hz: 0.0', '', r"policy.yaml: parameter 'replan_hz' is 0.0: .*greater than 0.*correct it"),
        ('replan_hz: quick', '', r"policy.yaml: parameter 'replan_hz' is 'quick'"),
        ('', 'continuity: temporal', r"streamer.yaml: parameter 'continuity' is 'temporal': .*'temporal_ens"),
        ('', 'rate_hz: 250.0', r"streamer.yaml: parameter 'rate_hz' is 250, expected 200 at most"),
        ('replan_gate_threshold: 0.5, replan_gate_release: 0.6', '', r"policy.yaml: .*'replan_gate_release'"),
        ('planner: true', '', 'found planner True, expected their defaults'),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_file(
    contract: Contract, tmp_path: Path, policy: str, streamer: str, reason: str
) -> None:
    with pytest.raises(CellError, match=reason):
        read_deployment(folder_with(tmp_path, policy, streamer), contract, PROMPT)


def test_a_name_that_no_node_has_is_refused(contract: Contract, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 'replan_hs: 5.0')
    with pytest.raises(ParameterFileError, match=r"policy.yaml: .*'replan_hs'; did you mean 'replan_hz'"):
        read_deployment(folder, contract, PROMPT)


def test_a_task_without_words_is_refused(contract: Contract, tmp_path: Path) -> None:
    with pytest.raises(CellError, match=r"'prompt' is ' ': .*expected a task"):
        read_deployment(folder_with(tmp_path), contract, ' ')
