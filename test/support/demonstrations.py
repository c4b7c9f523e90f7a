"""Folders of demonstrations as others keep them, small."""

from pathlib import Path

import cv2
import numpy as np

FRAMES = 12


def poses(frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    """A tool that moves along x, float64 [frames, 7]."""
    start = np.array([0.5, 0.0, 0.1 + 0.001 * seed, np.pi, 0.0, 0.0, 0.04])
    return start + np.arange(frames)[:, None] * np.array([0.01, 0, 0, 0, 0, 0, 0])


def draw(folder: Path, frames: int = FRAMES, shade: int = 0, suffix: str = '.png') -> Path:
    """Images 0, 1, 2, ... 10, 11, their number as their brightness, in a name without leading zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(frames):
        image = np.full((16, 16, 3), (20 * frame, shade, 0), np.uint8)  # BGR
        assert cv2.imwrite(str(folder / f'{frame}{suffix}'), image)
    return folder


def make_run(run: Path, cameras: tuple[str, ...] = ('main',), frames: int = FRAMES, seed: int = 0) -> Path:
    """A run of two arrays and a folder of images for each camera."""
    run.mkdir(parents=True, exist_ok=True)
    values = poses(frames + 1, seed)
    np.save(run / 'qpos.npy', values[:-1])
    np.save(run / 'actions.npy', values[1:])
    for number, camera in enumerate(cameras):
        draw(run / camera, frames, 40 * number)
    return run


def older_text(frames: int = FRAMES, first: int = 0) -> str:
    """The older file of numbers, vectors wrapped over lines as an array is printed."""
    values = poses(frames + 1)
    blocks = []
    for frame in range(frames):
        action, state = (', '.join(f'{x:.6f}' for x in values[frame + step]) for step in (1, 0))
        blocks.append(
            f'Frame_{frame + first}:\naction: [{action}]\nlrstate: [{state.replace(", ", chr(10), 1)}]'
        )
    return '\n'.join(blocks) + '\n'
