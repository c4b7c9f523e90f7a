"""A scripted expert that finds the hole by feel, and what it would do without touch.

Where the peg is pressed into the funnel, its far edge touches first, so that the torque about the peg's tip
points away from the hole. The torque about the tip follows from the grasp's displacement, with the friction
of sliding cancelled: M_x = k_turn r_x + L k_normal p_y, M_y = k_turn r_y - L k_shear p_x.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Pose
from restac_ros.sim.cell.cell import DOWN_XYZW
from restac_ros.sim.cell.parameters import CellParameters
from restac_ros.sim.cell.trial import FPS, Percept
from restac_ros.sim.randomness import random_for


class Strategy(StrEnum):
    """How to search once the socket is touched."""

    TOUCH = 'touch'
    GUESS = 'guess'  # press where the housing's middle is estimated, and stay
    RETRIES = 'retries'  # lift and press at random places
    SPIRAL = 'spiral'  # slide outwards along a spiral


class _Phase(StrEnum):
    APPROACH = 'approach'
    DESCEND = 'descend'
    SEARCH = 'search'
    LIFT = 'lift'
    INSERT = 'insert'


@dataclass(frozen=True)
class ExpertParameters:
    """Speeds, forces and thresholds of the expert, SI units.

    Attributes:
        hover_m: height of the tip above the rim at the end of the approach.
        approach_m_s, settle_m_s, settle_s: speed of the approach, of its end, and the time constant between.
        press_n: force that the target below the surface asks for; `vertical_n_m` is the controller's.
        touch_n: force from which the descent no longer aligns, so that the gel shows where the socket
            presses and not which way the plug is pushed.
        feel_n: force that ends the descent.
        reach_m: farthest search from the estimated middle of the housing.
        slide_m: by which the target leads the measured pose where touch says where to: above what friction
            holds. A lead that grew from zero would teach a policy, which cannot know for how long it has
            pushed, to push too little to move.
        lead_m: farthest target from the measured pose elsewhere, in x and y.
        drop_m: sinking that means that the peg is in the hole.
        deep_m: how far below the first touch the target goes at most.
        stuck_s, progress_m: back to searching after so long without so much progress.
        filter_s: time constant of the filter of the felt direction.
    """

    hover_m: float = 0.012
    approach_m_s: float = 0.05
    settle_m_s: float = 0.01
    settle_s: float = 0.5
    descend_m_s: float = 0.015
    search_m_s: float = 0.003
    insert_m_s: float = 0.01
    press_n: float = 5.0
    vertical_n_m: float = 800.0
    touch_n: float = 0.5
    feel_n: float = 4.0
    reach_m: float = 0.012
    slide_m: float = 0.0027
    lead_m: float = 0.003
    drop_m: float = 0.0015
    deep_m: float = 0.0125
    stuck_s: float = 1.5
    progress_m: float = 0.004
    filter_s: float = 0.15
    pitch_m: float = 0.0012
    spread_m: float = 0.005
    press_s: float = 0.6
    lift_m: float = 0.004


class Expert:
    """One attempt; make a new one for each. `seed` chooses the places of `Strategy.RETRIES`."""

    def __init__(
        self,
        strategy: Strategy = Strategy.TOUCH,
        cell: CellParameters | None = None,
        seed: int = 0,
    ) -> None:
        self._p, self._cell = ExpertParameters(), cell or CellParameters()
        self._strategy, self._random = strategy, random_for(seed, 'places of retries')
        self._phase, self._since_s = _Phase.APPROACH, 0.0
        self._target_m: np.ndarray | None = None
        self._middle_m = np.zeros(2)
        self._surface_m, self._way_m = 0.0, 0.0
        self._felt = np.zeros(2)

    def act(self, percept: Percept) -> Pose:
        """Return the next target; the tool keeps pointing down."""
        if self._target_m is None:
            self._target_m = percept.pose.position_m.copy()
        step = {
            _Phase.APPROACH: self._approach,
            _Phase.DESCEND: self._descend,
            _Phase.SEARCH: self._search,
            _Phase.LIFT: self._lift,
            _Phase.INSERT: self._insert,
        }[self._phase]
        self._target_m = step(percept, self._target_m)
        return Pose(self._target_m, DOWN_XYZW)

    def _begin(self, phase: _Phase, percept: Percept) -> None:
        self._phase, self._since_s = phase, percept.time_s

    def _approach(self, percept: Percept, target_m: np.ndarray) -> np.ndarray:
        height_m = self._cell.socket.rim_m + self._cell.plug.tip_m + self._p.hover_m
        goal_m = np.array([*percept.housing_m, height_m])
        if np.linalg.norm(goal_m - percept.pose.position_m) < self._p.lead_m:
            self._begin(_Phase.DESCEND, percept)
        away_m = float(np.linalg.norm(goal_m - target_m))
        speed_m_s = min(self._p.approach_m_s, max(self._p.settle_m_s, away_m / self._p.settle_s))
        return _stepped(target_m, goal_m, speed_m_s)

    def _descend(self, percept: Percept, target_m: np.ndarray) -> np.ndarray:
        pressed_n, plane_m = self._pressed_n(percept), target_m[:2]
        if pressed_n > self._p.feel_n:
            self._surface_m = percept.pose.position_m[2]
            if self._strategy != Strategy.RETRIES or not self._middle_m.any():
                self._middle_m = percept.housing_m.copy()
            self._begin(_Phase.SEARCH, percept)
        if self._strategy == Strategy.TOUCH:
            if pressed_n > self._p.touch_n:
                self._feel(percept)
                plane_m = percept.pose.position_m[:2]
            else:
                plane_m = _stepped(plane_m, percept.housing_m, self._p.descend_m_s)
        return np.array([*plane_m, target_m[2] - self._p.descend_m_s / FPS])

    def _search(self, percept: Percept, target_m: np.ndarray) -> np.ndarray:
        height_m = percept.pose.position_m[2]
        if self._surface_m - height_m > self._p.drop_m:
            self._way_m = height_m
            self._begin(_Phase.INSERT, percept)
        elif self._strategy == Strategy.RETRIES and percept.time_s - self._since_s > self._p.press_s:
            self._begin(_Phase.LIFT, percept)
            self._goal_m = self._middle_m + self._random.uniform(-1, 1, 2) * self._p.spread_m
        plane_m = target_m[:2]
        if self._strategy == Strategy.TOUCH:
            self._feel(percept)
            plane_m = percept.pose.position_m[:2] + self._direction() * self._p.slide_m
        elif self._strategy == Strategy.SPIRAL:
            plane_m = self._middle_m + self._on_spiral(percept.time_s - self._since_s)
        plane_m = _within(plane_m, self._middle_m, self._p.reach_m)
        plane_m = _within(plane_m, percept.pose.position_m[:2], self._p.lead_m)
        return np.array([*plane_m, height_m - self._p.press_n / self._p.vertical_n_m])

    def _lift(self, percept: Percept, target_m: np.ndarray) -> np.ndarray:
        goal_m = np.array([*self._goal_m, self._surface_m + self._p.lift_m])
        if np.linalg.norm(goal_m - percept.pose.position_m) < 0.001:
            self._begin(_Phase.DESCEND, percept)
        return _stepped(target_m, goal_m, self._p.approach_m_s)

    def _insert(self, percept: Percept, target_m: np.ndarray) -> np.ndarray:
        place_m = percept.pose.position_m
        if percept.time_s - self._since_s > self._p.stuck_s:
            if self._way_m - place_m[2] < self._p.progress_m:
                self._surface_m = max(place_m[2], self._surface_m - self._p.drop_m)
                self._begin(_Phase.SEARCH, percept)
            else:
                self._way_m = place_m[2]
                self._since_s = percept.time_s
        plane_m = target_m[:2] + np.clip(place_m[:2] - target_m[:2], -0.0005, 0.0005)
        lowest_m = place_m[2] - 2 * self._p.press_n / self._p.vertical_n_m
        lowest_m = max(lowest_m, self._surface_m - self._p.deep_m)
        return np.array([*plane_m, max(target_m[2] - self._p.insert_m_s / FPS, lowest_m)])

    def _pressed_n(self, percept: Percept) -> float:
        """Force that pushes the plug up into the grasp; the hand's z points down."""
        return float(-percept.mount[2] * self._cell.plug.shear_n_m)

    def _feel(self, percept: Percept) -> None:
        """Filter the torque about the peg's tip, as a direction in the base frame."""
        plug, mount = self._cell.plug, percept.mount
        about_x = plug.turning_nm_rad * mount[3] + plug.tip_m * plug.normal_n_m * mount[1]
        about_y = plug.turning_nm_rad * mount[4] - plug.tip_m * plug.shear_n_m * mount[0]
        in_hand = np.array([-about_y, about_x, 0.0])  # away from the centre of pressure
        in_base = quat.to_matrix(percept.pose.quaternion_xyzw) @ in_hand
        share = 1 - math.exp(-1 / FPS / self._p.filter_s)
        self._felt += share * (in_base[:2] - self._felt)

    def _direction(self) -> np.ndarray:
        """Unit vector [2] towards the hole in the base frame, by what has been felt."""
        return self._felt / max(float(np.linalg.norm(self._felt)), 1e-9)

    def _on_spiral(self, seconds: float) -> np.ndarray:
        """Archimedean spiral of constant speed, [2] from its middle."""
        angle = math.sqrt(4 * math.pi * self._p.search_m_s * seconds / self._p.pitch_m)
        radius_m = self._p.pitch_m * angle / (2 * math.pi)
        return radius_m * np.array([math.cos(angle), math.sin(angle)])


def _stepped(start_m: np.ndarray, goal_m: np.ndarray, speed_m_s: float) -> np.ndarray:
    way_m = goal_m - start_m
    return start_m + way_m * min(1.0, speed_m_s / FPS / max(float(np.linalg.norm(way_m)), 1e-9))


def _within(place_m: np.ndarray, middle_m: np.ndarray, radius_m: float) -> np.ndarray:
    way_m = place_m - middle_m
    return middle_m + way_m * min(1.0, radius_m / max(float(np.linalg.norm(way_m)), 1e-9))
