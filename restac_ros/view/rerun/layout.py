"""Entity paths of all values in Rerun, and the blueprint of the views."""

from collections.abc import Sequence

import rerun as rr
import rerun.blueprint as rrb

from restac_ros.view.colours import GREEN, ORANGE, PANEL, PINK, SKY

APPLICATION = 'restac_ros'
TIMELINE = 'time'
AT_WORLD, AT_CAMERAS, AT_TOUCH, AT_PLOTS, AT_TEXTS = 'world', 'cameras', 'touch', 'plots', 'texts'
AT_ROBOT, AT_FINGERS, AT_TOOL = f'{AT_WORLD}/robot', f'{AT_WORLD}/fingers', f'{AT_WORLD}/tool'
AT_TOUCH_IMAGE, AT_TOUCH_CHANGE, AT_RESIDUAL = (
    f'{AT_TOUCH}/image',
    f'{AT_TOUCH}/change',
    f'{AT_TOUCH}/felt_minus_expected',
)
AT_GATE, AT_LOGVAR, AT_CODE = f'{AT_PLOTS}/gate', f'{AT_PLOTS}/logvar', f'{AT_PLOTS}/code'
AT_LEVEL = f'{AT_PLOTS}/contact'
AT_DURATIONS = f'{AT_PLOTS}/durations'
AT_ACT_MS, AT_TOUCH_MS = f'{AT_DURATIONS}/act', f'{AT_DURATIONS}/touch'
AT_PREFIX_AGE_MS, AT_TACTILE_AGE_MS = f'{AT_DURATIONS}/prefix_age', f'{AT_DURATIONS}/tactile_age'
AT_STATE, AT_ACTION = f'{AT_PLOTS}/state', f'{AT_PLOTS}/action'
AT_PROMPT, AT_SUBTASK, AT_HELD = f'{AT_TEXTS}/prompt', f'{AT_TEXTS}/subtask', f'{AT_TEXTS}/policy'
AT_NOW = f'{AT_TEXTS}/now'  # the present ones of these together
_EYE_M, _LOOK_AT_M = (1.1, -0.9, 0.7), (0.3, 0.0, 0.35)  # a Franka reaches 0.85 m
_LINES = {
    AT_GATE: ('gate, 0 .. 1', ORANGE),
    AT_LOGVAR: ('log-variance, sd of the calibration', SKY),
    AT_CODE: ('touch event', PINK),
    AT_LEVEL: ('change of the gel, grey levels', GREEN),
    AT_ACT_MS: ('act, ms', ORANGE),
    AT_TOUCH_MS: ('touch, ms', GREEN),
    AT_PREFIX_AGE_MS: ('prefix age, ms', SKY),
    AT_TACTILE_AGE_MS: ('tactile age, ms', PINK),
}


def camera_path(stream: str) -> str:
    """Return the entity path of a camera's images."""
    return f'{AT_CAMERAS}/{stream}'


def name_lines(recording: rr.RecordingStream, state_names: Sequence[str]) -> None:
    """Name and colour every line of the plots, once: `state_names` are those of state and action."""
    for path, (name, colour) in _LINES.items():
        recording.log(path, rr.SeriesLines(names=name, colors=[colour]), static=True)
    for path in (AT_STATE, AT_ACTION):
        recording.log(path, rr.SeriesLines(names=list(state_names)), static=True)
    recording.log(AT_WORLD, rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)


def blueprint(cameras: Sequence[str], has_touch: bool, is_dataset: bool) -> rrb.Blueprint:
    """Return the blueprint: space and cameras to the left, touch and plots to the right.

    A data set shows state and action in place of a running policy's outputs. Of a robot without a tactile
    sensor nothing of touch is shown.
    """
    pictures = [rrb.Spatial2DView(origin=camera_path(name), name=name) for name in cameras]
    touch = _touch_images(is_dataset) if has_touch else []
    shares = [3, 1.6] if pictures else [1]
    left = rrb.Vertical(
        _space(),
        *([rrb.Horizontal(*pictures)] if pictures else []),
        row_shares=shares,
    )
    texts = rrb.Horizontal(
        rrb.TextDocumentView(origin=AT_NOW, name='now'),
        rrb.TextLogView(origin=AT_TEXTS, name='prompt, subtask, policy'),
    )
    plots = _dataset_plots(has_touch) if is_dataset else _policy_plots(has_touch)
    right = rrb.Vertical(*touch, *plots, texts)
    return rrb.Blueprint(
        rrb.Horizontal(left, right, column_shares=[1.1, 1]),
        rrb.TimePanel(state='collapsed'),
        collapse_panels=True,
    )


def _space() -> rrb.Spatial3DView:
    """Viewed from the side, from an operator's place: x away from the robot's base, z up."""
    eye = rrb.EyeControls3D(position=_EYE_M, look_target=_LOOK_AT_M, eye_up=(0, 0, 1))
    name = 'robot, chunk and path'
    return rrb.Spatial3DView(origin=AT_WORLD, name=name, background=[*PANEL, 255], eye_controls=eye)


def shape_path(name: str) -> str:
    """Return the entity path of a shape."""
    return f'{AT_WORLD}/{name.replace(" ", "_")}'


def _touch_images(is_dataset: bool) -> list[rrb.Horizontal]:
    """One row of images."""
    views = [
        rrb.Spatial2DView(origin=AT_TOUCH_IMAGE, name='touch'),
        rrb.Spatial2DView(origin=AT_TOUCH_CHANGE, name='change against no contact'),
    ]
    if not is_dataset:
        views.append(rrb.Spatial2DView(origin=AT_RESIDUAL, name='felt minus expected'))
    return [rrb.Horizontal(*views)]


def _policy_plots(has_touch: bool) -> list[rrb.TimeSeriesView]:
    durations = rrb.TimeSeriesView(origin=AT_DURATIONS, name='durations and ages, ms')
    if not has_touch:
        return [durations]
    return [
        rrb.TimeSeriesView(
            origin=AT_PLOTS, contents=[AT_GATE], name='gate', axis_y=rrb.ScalarAxis(range=(0, 1))
        ),
        rrb.TimeSeriesView(
            origin=AT_PLOTS, contents=[AT_LOGVAR, AT_LEVEL, AT_CODE], name='surprise, contact, touch event'
        ),
        durations,
    ]


def _dataset_plots(has_touch: bool) -> list[rrb.TimeSeriesView]:
    plots = [
        rrb.TimeSeriesView(origin=AT_STATE, name='state'),
        rrb.TimeSeriesView(origin=AT_ACTION, name='action'),
    ]
    if has_touch:
        plots.append(rrb.TimeSeriesView(origin=AT_PLOTS, contents=[AT_LEVEL], name='contact'))
    return plots
