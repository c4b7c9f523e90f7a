"""Where each value stands in Rerun, and the fixed arrangement of the views."""

from collections.abc import Sequence

import rerun as rr
import rerun.blueprint as rrb

from restac_ros.view.colours import GREEN, ORANGE, PANEL, PINK, SKY

APPLICATION = 'restac_ros'
TIMELINE = 'time'
WORLD, CAMERAS, TOUCH, PLOTS, TEXTS = 'world', 'cameras', 'touch', 'plots', 'texts'
ROBOT, FINGERS, TOOL = f'{WORLD}/robot', f'{WORLD}/fingers', f'{WORLD}/tool'
TOUCH_IMAGE, TOUCH_CHANGE, RESIDUAL = f'{TOUCH}/image', f'{TOUCH}/change', f'{TOUCH}/felt minus expected'
GATE, LOGVAR, CODE = f'{PLOTS}/gate', f'{PLOTS}/logvar', f'{PLOTS}/code'
LEVEL = f'{PLOTS}/contact'
DURATIONS = f'{PLOTS}/durations'
ACT_MS, TOUCH_MS = f'{DURATIONS}/act', f'{DURATIONS}/touch'
PREFIX_AGE_MS, TACTILE_AGE_MS = f'{DURATIONS}/prefix age', f'{DURATIONS}/tactile age'
STATE, ACTION = f'{PLOTS}/state', f'{PLOTS}/action'
PROMPT, SUBTASK, HELD = f'{TEXTS}/prompt', f'{TEXTS}/subtask', f'{TEXTS}/policy'
_LINES = {
    GATE: ('gate, 0 .. 1', ORANGE),
    LOGVAR: ('log-variance, sd of the calibration', SKY),
    CODE: ('touch event', PINK),
    LEVEL: ('change of the gel, grey levels', GREEN),
    ACT_MS: ('act, ms', ORANGE),
    TOUCH_MS: ('touch, ms', GREEN),
    PREFIX_AGE_MS: ('prefix age, ms', SKY),
    TACTILE_AGE_MS: ('tactile age, ms', PINK),
}


def camera_path(stream: str) -> str:
    """Return where the images of a camera stand."""
    return f'{CAMERAS}/{stream}'


def name_lines(recording: rr.RecordingStream, state_names: Sequence[str]) -> None:
    """Name and colour every line of the plots, once: `state_names` are those of state and action."""
    for path, (name, colour) in _LINES.items():
        recording.log(path, rr.SeriesLines(names=name, colors=[colour]), static=True)
    for path in (STATE, ACTION):
        recording.log(path, rr.SeriesLines(names=list(state_names)), static=True)
    recording.log(WORLD, rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)


def blueprint(cameras: Sequence[str], is_dataset: bool) -> rrb.Blueprint:
    """Return the arrangement: space and cameras to the left, touch and plots to the right.

    A data set has state and action in place of what only a running policy knows.
    """
    pictures = [rrb.Spatial2DView(origin=camera_path(name), name=name) for name in cameras]
    touch = [
        rrb.Spatial2DView(origin=TOUCH_IMAGE, name='touch'),
        rrb.Spatial2DView(origin=TOUCH_CHANGE, name='change against no contact'),
    ]
    shares = [3, 1.6] if pictures else [1]
    left = rrb.Vertical(
        rrb.Spatial3DView(origin=WORLD, name='robot, chunk and path', background=[*PANEL, 255]),
        *([rrb.Horizontal(*pictures)] if pictures else []),
        row_shares=shares,
    )
    texts = rrb.TextLogView(origin=TEXTS, name='prompt, subtask, policy')
    right = rrb.Vertical(
        rrb.Horizontal(*touch), *(_dataset_plots() if is_dataset else _policy_plots()), texts
    )
    return rrb.Blueprint(
        rrb.Horizontal(left, right, column_shares=[1.1, 1]),
        rrb.TimePanel(state='collapsed'),
        collapse_panels=True,
    )


def _policy_plots() -> list[rrb.TimeSeriesView]:
    plots = [
        rrb.TimeSeriesView(origin=PLOTS, contents=[GATE], name='gate', axis_y=rrb.ScalarAxis(range=(0, 1)))
    ]
    plots += [
        rrb.TimeSeriesView(
            origin=PLOTS, contents=[LOGVAR, LEVEL, CODE], name='surprise, contact, touch event'
        ),
        rrb.TimeSeriesView(origin=DURATIONS, name='durations and ages, ms'),
    ]
    return plots


def _dataset_plots() -> list[rrb.TimeSeriesView]:
    return [
        rrb.TimeSeriesView(origin=STATE, name='state'),
        rrb.TimeSeriesView(origin=ACTION, name='action'),
        rrb.TimeSeriesView(origin=PLOTS, contents=[LEVEL], name='contact'),
    ]
