"""What a training of Unit-Align leaves: the encoder in two layouts, and a picture of what it feels."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from restac_ros.dataset.image_files import write_png
from restac_ros.model.checkpoint.params import Params
from restac_ros.model.checkpoint.provenance import Origin
from restac_ros.model.checkpoint.unit_align_store import save_unit_align
from restac_ros.model.observation import pixels_to_float
from restac_ros.model.tactile.unit_align_checkpoint import save_lightning
from restac_ros.training.step import NamedLeaves
from restac_ros.training.tactile.config import StageName
from restac_ros.training.tactile.prepare import PreparedTactile
from restac_ros.training.tactile.prophet_stage import felt_and_expected
from restac_ros.training.tactile.samples import TouchBatch
from restac_ros.training.tactile.trainee import UNIT, Trainee
from restac_ros.training.tactile.trainer import TactileOutcome

UNIT_ALIGN_DIRECTORY, LIGHTNING_FILE, TOUCH_PICTURE = 'unit_align', 'unit_align.ckpt', 'touch.png'
_COLUMNS = ('felt', 'drawn again', 'expected', 'expected + code')
_ROWS = 8
_HEADING_PX = 24


def write_unit_align(prepared: PreparedTactile, outcome: TactileOutcome) -> tuple[Path, Path]:
    """Write the encoder of a whole run: our directory, and the published Lightning layout beside it.

    Raises:
        CheckpointError, OSError: it cannot be written.
    """
    config = prepared.config
    steps = sum(config.steps.values())
    prefix = f'{UNIT}/'
    params: Params = {
        name.removeprefix(prefix): np.asarray(leaf)
        for name, leaf in outcome.leaves.items()
        if name.startswith(prefix)
    }
    origin = Origin(
        made_by=f'train-tactile {config.size}',
        weights='random',
        seed=config.seed,
        step=steps,
        data=tuple(episodes.identity for episodes in prepared.opened),
    )
    own, published = config.to / UNIT_ALIGN_DIRECTORY, config.to / LIGHTNING_FILE
    save_unit_align(own, prepared.network, params, origin, _flat(outcome.health))
    save_lightning(published, prepared.leaves.unit(outcome.leaves), steps)
    return own, published


def save_touch_picture(prepared: PreparedTactile, leaves: NamedLeaves) -> Path:
    """Draw held-out frames as rows: felt, drawn again, expected of the views, and corrected by the code.

    Raises:
        OSError: the picture cannot be written.
    """
    batches = prepared.held_out(reads_views=True)
    rows = [row for batch in batches for row in _rows(batch)]
    chosen = [rows[int(i)] for i in np.linspace(0, len(rows) - 1, min(_ROWS, len(rows))).round()]
    batch: TouchBatch = jax.tree.map(lambda *values: np.concatenate(values), *chosen)
    images = jax.device_get(
        jax.jit(lambda own, batch: _drawn(prepared.leaves.model(own), batch))(leaves, batch)
    )
    bytes_ = [np.clip((image + 1) * 127.5, 0, 255).round().astype(np.uint8) for image in images]
    width = bytes_[0].shape[2]
    canvas = np.concatenate([np.concatenate(list(column)) for column in bytes_], axis=1)
    canvas = np.concatenate([np.full((_HEADING_PX, canvas.shape[1], 3), 255, np.uint8), canvas])
    for number, text in enumerate(_COLUMNS):
        at = (number * width + 6, _HEADING_PX - 7)
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    path = prepared.config.to / TOUCH_PICTURE
    write_png(path, canvas)
    return path


def _drawn(model: Trainee, batch: TouchBatch) -> tuple[jax.Array, ...]:
    tactile = pixels_to_float(jnp.asarray(batch.tactile))
    views = pixels_to_float(jnp.asarray(batch.views))
    latent, prior = felt_and_expected(model, batch._replace(tactile=tactile, views=views))
    code = model.unit.quantizer(model.unit.event(prior, latent)).code
    corrected = prior.mean + model.event_decoder(prior.mean, code)
    return (tactile, *(model.image_decoder(one) for one in (latent, prior.mean, corrected)))


def _rows(batch: TouchBatch) -> list[TouchBatch]:
    return [jax.tree.map(lambda values, i=i: values[i : i + 1], batch) for i in range(len(batch.source))]


def _flat(health: Mapping[StageName, Mapping[str, float]]) -> dict[str, float]:
    """Health by stage/name; a number that is not known (a correlation without spread) is left out."""
    flat = {f'{stage}/{name}': value for stage, own in health.items() for name, value in own.items()}
    return {name: value for name, value in flat.items() if np.isfinite(value)}
