"""A recorded run as a video: cameras, the gel and its change, and the chart of gate and touch."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.image_files import write_png
from restac_ros.dataset.video.mp4_file import Mp4File
from restac_ros.framing.decode import decode_image
from restac_ros.framing.sample import belongs
from restac_ros.view.chart import HEIGHT_PX, WIDTH_PX
from restac_ros.view.colours import PANEL, TEXT
from restac_ros.view.drawing import LINE_PX, canvas, put_text
from restac_ros.view.errors import ViewError
from restac_ros.view.playback import (
    RecordingReader,
    check_shown,
    count_messages,
    merged_messages,
    tactile_stream,
)
from restac_ros.view.render import open_run
from restac_ros.view.scene import GateScene, SceneOptions

_CAMERAS_PX = 512  # width of the first camera's image, which is square; the others share one row below it
_TOP_PX = 298  # of the tactile picture, above the chart
_SIZE_PX = _TOP_PX + HEIGHT_PX, _CAMERAS_PX + WIDTH_PX
_MIN_SPAN_S, _LONGEST_S = 4.0, 3600.0


class RunVideo(NamedTuple):
    """What was written.

    video: MP4 (H.264), at the contract's frame rate
    picture: PNG of its last frame, whose chart reaches back to the beginning
    frames: of the video
    """

    video: Path
    picture: Path
    frames: int


def write_run_video(
    paths: Sequence[Path],
    to: Path,
    contract: Contract | None = None,
    on_message: Callable[[int, int], None] = lambda done, total: None,
) -> RunVideo:
    """Draw the recordings of one run into the video `to`, and its last frame into a PNG beside it.

    `paths` is a bag that holds everything, or a journal and the session log of its run. Time is that of the
    recordings: a simulation that ran slowly is shown at its own pace.

    Raises:
        BagError: a recording cannot be read.
        ViewError: nothing in them can be shown, they are of different runs, or there is no contract.
        DecodeError: a message contradicts the contract.
        OSError: the video or the picture cannot be written.
    """
    bags, contract, start_ns = open_run(paths, contract)
    end_ns = max(bag.bounds_ns[1] for bag in bags if bag.bounds_ns)
    if (found_s := (end_ns - start_ns) * 1e-9) > _LONGEST_S:
        raise ViewError(f'recordings of {found_s:.0f} s: a video is drawn of {_LONGEST_S:.0f} s at most')
    span_s = max(_MIN_SPAN_S, math.ceil((end_ns - start_ns) * 1e-9))
    scene = GateScene(contract, tactile_stream(contract), SceneOptions(span_s=span_s))
    reader = RecordingReader(contract, scene)
    cameras = {spec.topic: (name, spec) for name, spec in contract.by_role('camera').items()}
    check_shown(bags, reader.topics)
    topics = reader.topics | set(cameras)
    total, done = count_messages(bags, topics), 0
    images: dict[str, np.ndarray] = {}
    picture, frame = to.with_suffix('.png'), canvas(*_SIZE_PX, PANEL)
    with Mp4File(to, contract.fps, _SIZE_PX) as encoder:
        for message in merged_messages(bags, topics):
            while message.log_time_ns >= start_ns + encoder.frames * 10**9 // contract.fps:
                time_ns = start_ns + encoder.frames * 10**9 // contract.fps
                frame = _drawn(scene, list(contract.by_role('camera')), images, time_ns, start_ns)
                encoder.add(frame)
            reader.add(message)
            if message.topic in cameras:
                name, spec = cameras[message.topic]
                if belongs(spec, message.cdr):
                    images[name] = decode_image(spec, message.cdr)
            done += 1
            on_message(done, total)
        reader.flush()
        frame = _drawn(scene, list(contract.by_role('camera')), images, end_ns, start_ns)
        encoder.add(frame)
    write_png(picture, frame)
    return RunVideo(to, picture, encoder.frames)


def _drawn(
    scene: GateScene, cameras: Sequence[str], images: Mapping[str, np.ndarray], time_ns: int, start_ns: int
) -> np.ndarray:
    """One frame, uint8 [H, W, 3] RGB."""
    picture = canvas(*_SIZE_PX, PANEL)
    others = cameras[1:]
    for name in cameras[:1]:
        _paste(picture, images.get(name), (0, 0), (_CAMERAS_PX, _CAMERAS_PX), name)
    for number, name in enumerate(others):
        width_px = _CAMERAS_PX // len(others)
        size_px = _SIZE_PX[0] - _CAMERAS_PX, width_px
        _paste(picture, images.get(name), (_CAMERAS_PX, number * width_px), size_px, name)
    if scene.has_touch:
        _paste(picture, scene.tactile_image(time_ns), (0, _CAMERAS_PX), (_TOP_PX, WIDTH_PX), '')
    picture[_TOP_PX:, _CAMERAS_PX:] = scene.chart_image(time_ns)
    put_text(picture, f'{(time_ns - start_ns) * 1e-9:.1f} s', 6, _CAMERAS_PX - 6, TEXT)
    return picture


def _paste(
    picture: np.ndarray,
    image: np.ndarray | None,
    place_px: tuple[int, int],
    size_px: tuple[int, int],
    name: str,
) -> None:
    """Draw an image as large as it fits into a field of `size_px`, rows and columns, at `place_px`."""
    (top, left), (height, width) = place_px, size_px
    if image is not None:
        scale = min(height / image.shape[0], width / image.shape[1])
        rows, columns = (max(1, round(side * scale)) for side in image.shape[:2])
        shown = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
        picture[top : top + rows, left : left + columns] = shown
    put_text(picture, name, left + 6, top + LINE_PX, TEXT)
