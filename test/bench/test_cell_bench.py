"""The cell's benchmark: a clone learns what the expert did from what it is given, and no more."""

import json
from pathlib import Path

import numpy as np
import pytest

from restac_ros.bench.cell import main
from restac_ros.bench.cell_imitation import Clone, Demonstrations, clone_expert
from restac_ros.bench.settings import CellBench
from restac_ros.geometry.pose import Pose
from restac_ros.sim.cell.cell import DOWN_XYZW
from restac_ros.sim.cell.trial import Percept


def percepts(count: int) -> list[Percept]:
    random = np.random.default_rng(0)
    return [
        Percept(
            time_s=i / 15,
            pose=Pose(np.array([0.5, 0.0, 0.06]) + 0.01 * random.standard_normal(3), DOWN_XYZW),
            housing_m=np.array([0.5, 0.0]) + 0.01 * random.standard_normal(2),
            mount=1e-3 * random.standard_normal(6),
        )
        for i in range(count)
    ]


def unexplained(clone: Clone, shown: Demonstrations) -> float:
    """Share of the actions' variance that the clone does not reproduce."""
    acted = [clone.act(percept).position_m - percept.pose.position_m for percept in shown.percepts]
    return float(np.var(np.array(acted) - shown.actions_m) / np.var(shown.actions_m))


def test_only_a_clone_with_touch_learns_what_depends_on_touch() -> None:
    seen = percepts(400)
    actions_m = np.array([one.mount[:3] for one in seen])
    shown = Demonstrations(seen, actions_m, episodes=1)
    assert unexplained(clone_expert(shown, True, 600, 0), shown) < 0.05
    assert unexplained(clone_expert(shown, False, 600, 0), shown) > 0.8


def test_the_benchmark_compares_strategies_and_clones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / 'cell.json'
    settings = CellBench(seeds=1, demonstrations=1, steps=20, limit_s=4.0, json=file)
    assert main(settings) in (0, 1)  # its speed depends on the machine
    figures = json.loads(file.read_text())
    assert figures['physics_real_time_factor'] > 0
    assert figures['frames_hz'] > 0
    trials = figures['trials']
    assert {name.partition(' of ')[0] for name in trials} == {
        'expert, touch',
        'expert, guess',
        'expert, retries',
        'expert, spiral',
        'clone 0',
    }
    assert all(len(each) == 1 and each[0]['seconds'] <= 4.0 for each in trials.values())
    assert 'expert, spiral' in capsys.readouterr().out
