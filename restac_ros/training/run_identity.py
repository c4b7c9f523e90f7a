"""What a run is, by its settings and by the content of its files: a state is resumed by the same run only."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from restac_ros.model.checkpoint.params import Params
from restac_ros.model.checkpoint.store import MANIFEST, checkpoint_fingerprint
from restac_ros.policy.normalization import NormStats
from restac_ros.training.config import TrainConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.selection import FrameSelection
from restac_ros.training.start import StartPlan

_SETTINGS = ('batch_size', 'seed', 'steps', 'part', 'ema_decay', 'accumulate', 'max_delay_steps')
_GROUPS = ('optimizer', 'augmentation', 'hierarchy', 'distil')
_ENDS_BYTES = 65_536


def run_identity(
    train: TrainConfig,
    plan: StartPlan,
    stats: NormStats,
    opened: Sequence[Episodes],
    selections: Sequence[FrameSelection],
) -> dict[str, Any]:
    """Return everything that the order of samples and the meaning of the state depend on."""
    return {
        'data': [episodes.fingerprint for episodes in opened],
        'frames': [len(selection.trained) for selection in selections],
        'selection': [selection_digest(selection) for selection in selections],
        'weights': list(train.data.weights),
        **{name: getattr(train, name) for name in _SETTINGS},
        'model': plan.config.to_dict(),
        'init': str(train.init),
        'init_content': None if train.init is None else weights_digest(train.init),
        'unit_align': str(train.unit_align),
        'unit_align_content': _digest_of_leaves(plan.encoder),
        'tokenizer_content': _digest(plan.tokenizer),
        'statistics': _digest(json.dumps(stats.to_dict()['norm_stats'], sort_keys=True).encode()),
        'frozen_dtype': train.frozen_dtype,
        **{name: asdict(getattr(train, name)) for name in _GROUPS},
    }


def selection_digest(selection: FrameSelection) -> str:
    """Return 12 hex digits of which frames are trained on and which are held out."""
    return _digest(*(np.ascontiguousarray(part, '<i8') for part in (selection.trained, selection.validated)))


def weights_digest(path: Path) -> str:
    """Return 12 hex digits of weights at a path: a checkpoint's fingerprint, else of its files' ends.

    Of other files, which may be many gigabytes, name, size, begin and end are compared.
    """
    if (path / MANIFEST).is_file():
        return checkpoint_fingerprint(path)
    files = [path] if path.is_file() else sorted(one for one in path.rglob('*') if one.is_file())
    return _digest(*(part for file in files for part in _parts(file, path)))


def _parts(file: Path, root: Path) -> tuple[bytes, bytes, bytes]:
    size = file.stat().st_size
    with file.open('rb') as opened:
        begin = opened.read(_ENDS_BYTES)
        opened.seek(max(0, size - _ENDS_BYTES))
        end = opened.read(_ENDS_BYTES)
    return f'{file.relative_to(root)} {size}'.encode(), begin, end


def _digest_of_leaves(leaves: Params) -> str | None:
    if not leaves:
        return None
    return _digest(*(part for name in sorted(leaves) for part in (name.encode(), _bytes(leaves[name]))))


def _bytes(leaf: object) -> np.ndarray:
    return np.frombuffer(np.asarray(leaf).tobytes(), np.uint8)


def _digest(*parts: bytes | np.ndarray) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()[:12]
