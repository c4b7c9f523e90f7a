"""A policy for the cell that needs no network: it knows where the hole is."""

import time
from types import SimpleNamespace

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.policy.products import PlannedActions
from restac_ros.sim.cell.parameters import CellParameters, draw_scene
from restac_ros.sim.evaluation.timed_policy import Attempt

HORIZON = 12
SPEED_M = 0.08 / 15  # per step
PRESS_M = 0.012


class KnowingPolicy:
    """Goes to the hole of a seed's scene and presses; its gate follows how much the tactile image changes."""

    uses_touch = True
    camera_streams = ('main', 'handeye', 'side')
    tactile_stream = 'gelsight_left'
    prompt = 'insert'
    config = SimpleNamespace(state_input='token')

    def __init__(self, contract: Contract, seed: int, real_s: float = 0.0) -> None:
        self.contract, self._real_s = contract, real_s
        scene, cell = draw_scene(seed), CellParameters()
        self._hole_m = np.add(scene.housing_m, scene.hole_m)
        self._rim_m = cell.socket.rim_m + cell.plug.tip_m
        self.felt: list[np.ndarray] = []

    def begin(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def encode_prefix(self, images: dict, stamp_ns: int, state: object) -> SimpleNamespace:
        self._pause(self._attempt.durations.prefix_ms)
        return SimpleNamespace(stamp_ns=stamp_ns, prompt=self.prompt, prompt_revision=0)

    def encode_tactile(
        self, image: np.ndarray, prefix: object, action_prev: np.ndarray, stamp_ns: int
    ) -> SimpleNamespace:
        felt = self._attempt.feel(image, stamp_ns)
        self.felt.append(felt)
        change = float(np.abs(felt.astype(float) - self.felt[0]).mean())
        self._pause(self._attempt.durations.tactile_ms)
        squares = np.full((2, 2), change + 0.01)
        return SimpleNamespace(
            stamp_ns=stamp_ns,
            gate=1 - np.exp(-change / 5),
            logvar=change,
            residual_map=squares,
            residual_norm=float(np.sqrt(12 * (change + 0.1))),
            saturated=False,
        )

    def act(self, prefix: object, touch: object, state: np.ndarray, continuation: object) -> PlannedActions:
        aside = self._hole_m - state[:2]
        if np.hypot(*aside) > 0.002:
            goal = [*self._hole_m, self._rim_m + 0.01]
        else:
            goal = [*self._hole_m, self._rim_m - PRESS_M]
        way = np.subtract(goal, state[:3])
        steps = np.minimum(np.arange(1, HORIZON + 1) * SPEED_M, np.linalg.norm(way))[:, None]
        delta = np.zeros((HORIZON, 6))
        delta[:, :3] = steps * way / max(np.linalg.norm(way), 1e-9)
        self._pause(self._attempt.durations.act_ms)
        opening = np.full(HORIZON, state[6])
        return PlannedActions(delta, opening, state, prefix.stamp_ns, touch, None, None)

    def _pause(self, simulated_ms: float) -> None:
        time.sleep(self._real_s)
        self._attempt.pause(round(simulated_ms * 1e6))
