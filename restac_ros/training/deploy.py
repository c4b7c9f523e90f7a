"""The deployable checkpoint of a run: the same files that `Policy.load` reads."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from restac_ros.contract.load import dump_contract
from restac_ros.model.checkpoint.params import CastRule, Params
from restac_ros.model.checkpoint.provenance import Origin, episode_digest
from restac_ros.model.checkpoint.store import MANIFEST, CheckpointInfo, load_info, save_checkpoint
from restac_ros.training.prepare import Prepared

CHECKPOINT = 'checkpoint'  # and the number of steps


def write_checkpoint(prepared: Prepared, weights: Mapping[str, np.ndarray], step: int) -> Path:
    """Write the run's policy after `step` steps, unless it has. Process 0 calls this.

    Args:
        prepared: the run.
        weights: trained leaves, on the host.
        step: number of steps made.

    Raises:
        CheckpointError: it cannot be written.
    """
    train = prepared.train
    cast = CastRule(prepared.config.dtype)
    leaves = {**prepared.frozen, **weights}
    params: Params = {
        name: np.asarray(leaves[name]).astype(cast(name, leaves[name].dtype))
        for name in prepared.weights.params
    }
    before = prepared.before or Origin('nothing')
    data = [*before.data, *(source.episodes.identity for source in prepared.sources)]
    made_by = f'distil --steps {train.distil.steps}' if prepared.teacher else f'train {train.preset}'
    info = CheckpointInfo(
        config=prepared.config,
        contract_text=dump_contract(prepared.contract),
        norm_stats=prepared.stats.to_dict(),
        calibration=prepared.calibration,
        tokenizer=prepared.tokenizer,
        action_tokens=prepared.action_tokens,
        origin=Origin(
            made_by=made_by,
            weights=str(train.init or 'random'),
            seed=train.seed,
            step=step,
            unit_align=str(train.unit_align) if train.unit_align else None,
            max_simulated_delay=train.max_delay_steps,
            ema_decay=train.ema_decay,
            subtasks=prepared.subtasks,
            flow_steps=train.distil.steps or None,
            data=tuple(dict.fromkeys(data)),
            episodes=tuple(sorted({*before.episodes, *_trained_on(prepared)})),
            all_episodes=before.knows_episodes and not train.allow_changes,  # which may be other data
        ),
    )
    path = train.to / f'{CHECKPOINT}-{step}'
    if not _is_there(path, info):
        save_checkpoint(path, params, info, replace=True)
    return path


def _is_there(path: Path, info: CheckpointInfo) -> bool:
    """Whether this run has written the checkpoint before; one of another run at its place is replaced."""
    if not (path / MANIFEST).is_file():
        return False
    found = load_info(path, checksums=False)
    return (found.origin, found.norm_stats) == (info.origin, info.norm_stats)


def _trained_on(prepared: Prepared) -> Iterator[str]:
    """Digests of the episodes that the run itself trains on."""
    for source, selection in zip(prepared.sources, prepared.selections, strict=True):
        yield from (episode_digest(source.episodes.episode_key(n)) for n in selection.trained_episodes)
