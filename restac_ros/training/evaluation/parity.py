"""The training road against the deployment road, on every frame that is evaluated: equal to the last bit.

Almost every policy with a good loss and a bad robot has its cause here: another prompt, slot, order of
channels, delta or normalisation in deployment than in training.
"""

from dataclasses import dataclass

import numpy as np

from restac_ros.model.observation import Observation
from restac_ros.policy.policy import Policy
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.prompting import Task
from restac_ros.training.data.episodes import EpisodeSample
from restac_ros.training.errors import TrainingError

CHUNK_TOLERANCE = {'float32': 1e-3, 'bfloat16': 0.1}
"""Largest difference of normalised actions between a batch of the evaluation and one call of the policy."""


@dataclass(frozen=True)
class Parity:
    """What was compared.

    Attributes:
        frames: whose tensors were equal to the last bit.
        tensors: names of the tensors.
        chunks: of these frames, how many chunks the policy sampled itself.
        chunk_difference: largest difference of theirs from the evaluated ones, normalised.
    """

    frames: int
    tensors: list[str]
    chunks: int
    chunk_difference: float


def deployed_observation(inputs: Preprocessor, sample: EpisodeSample, task: Task) -> Observation[np.ndarray]:
    """Return a row as the policy's calls hand it to the network: `encode_prefix`, `encode_tactile`, `act`."""
    uses_touch = inputs.config.uses_touch
    pixels, valid, tokens, token_mask = inputs.prefix(sample.images, task, sample.state)
    tactile = inputs.tactile(sample.tactile) if uses_touch and sample.tactile is not None else None
    action_prev = inputs.action_prev(sample.action_prev) if uses_touch else None
    state = inputs.state(sample.state)
    return Observation(pixels, valid, state, tokens, token_mask, tactile, action_prev)


def check_equal(loaded: Observation[np.ndarray], deployed: Observation[np.ndarray], place: str) -> list[str]:
    """Compare tensors bit for bit; prompts up to the padding, which changes no result. Returns their names.

    Raises:
        TrainingError: they differ; names the tensor, where, and by how much.
    """
    ours, theirs = _by_name(loaded), _by_name(deployed)
    if ours.keys() != theirs.keys():
        raise TrainingError(
            f'{place}: found tensors {sorted(theirs)} in deployment, expected {sorted(ours)} as in training'
        )
    for name in ours:
        one, other = ours[name], theirs[name]
        if one.dtype != other.dtype or one.shape != other.shape or one.tobytes() != other.tobytes():
            raise TrainingError(f'{place}: {name}: {_difference(one, other)}; {_REMEDY}')
    return list(ours)


def check_policy_chunk(
    policy: Policy, sample: EpisodeSample, task: Task, noise: np.ndarray, evaluated: np.ndarray, place: str
) -> float:
    """Sample one chunk by the policy's three calls; return its largest difference from the evaluated one.

    `task` is what it is planned by.

    Raises:
        TrainingError: it is larger than rounding explains.
    """
    policy.adopt_task(policy.prepare_task(task.text, task.within))
    prefix = policy.encode_prefix(sample.images, 0, sample.state)
    touch = None
    if policy.uses_touch and sample.tactile is not None:
        touch = policy.encode_tactile(sample.tactile, prefix, sample.action_prev, 0)
    planned = policy.act(prefix, touch, sample.state, noise=noise)
    values = np.concatenate([planned.delta_pose, planned.gripper_opening_m[:, None]], axis=1)
    acted = policy.inputs.actions_from_deltas(values)
    width = values.shape[1]
    difference = float(np.abs(acted[:, :width] - evaluated[:, :width]).max())
    tolerance = CHUNK_TOLERANCE[policy.config.dtype]
    if not difference <= tolerance:
        raise TrainingError(
            f'{place}: chunk of the policy and of the evaluation: found a difference of {difference:.3g}, '
            f'expected at most {tolerance:g}; {_REMEDY}'
        )
    return difference


_REMEDY = (
    'training and deployment do not feed the network the same, so that neither loss nor error tells what the '
    'robot will do. Compare the contract in the checkpoint with the data set; otherwise report this'
)


def _by_name(observation: Observation[np.ndarray]) -> dict[str, np.ndarray]:
    mask = np.asarray(observation.tokenized_prompt_mask)
    used = int(np.flatnonzero(mask.any(axis=0))[-1]) + 1
    named = {f'images/{slot}': pixels for slot, pixels in observation.images.items()}
    named |= {f'image_masks/{slot}': valid for slot, valid in observation.image_masks.items()}
    named |= {
        'state': observation.state,
        'tokenized_prompt': observation.tokenized_prompt[:, :used],
        'tokenized_prompt_mask': mask[:, :used],
    }
    if observation.tactile is not None and observation.action_prev is not None:
        named |= {'tactile': observation.tactile, 'action_prev': observation.action_prev}
    return {name: np.asarray(value) for name, value in sorted(named.items())}


def _difference(one: np.ndarray, other: np.ndarray) -> str:
    if one.dtype != other.dtype or one.shape != other.shape:
        return f'found {other.dtype} {other.shape} in deployment, expected {one.dtype} {one.shape}'
    unequal = np.argwhere(one != other)
    index = tuple(int(i) for i in unequal[0]) if unequal.size else ()
    return (
        f'found {other[index]} at {index} in deployment, expected {one[index]} as in training '
        f'({len(unequal)} of {one.size} values differ)'
    )
