"""The smallest network with everything in it, and inputs for it: gradients compile in seconds."""

import numpy as np

from restac_ros.model.config import GemmaConfig, ModelConfig, SiglipConfig
from restac_ros.model.joint_pass import TextTarget
from restac_ros.model.observation import CAMERA_SLOTS, Observation

END, VOCABULARY = 1, 40
SMALL = ModelConfig(
    paligemma=GemmaConfig(16, 2, 24, num_heads=2, num_kv_heads=1, head_dim=8),
    action_expert=GemmaConfig(12, 2, 16, num_heads=2, num_kv_heads=1, head_dim=8),
    siglip=SiglipConfig(width=8, depth=1, mlp_dim=8, num_heads=2),
    vocab_size=VOCABULARY,
    image_size=28,
    max_prompt_tokens=16,
    action_dim=8,
    action_horizon=4,
    dtype='float32',
)
PROMPT_LENGTHS = (7, 4)
ROWS = len(PROMPT_LENGTHS)


def small_observation() -> Observation:
    """Two samples with prompts of different lengths, padded; one camera of one sample is hidden."""
    rng = np.random.default_rng(0)
    images = {slot: rng.uniform(-1, 1, (ROWS, 28, 28, 3)).astype(np.float32) for slot in CAMERA_SLOTS}
    masks = {slot: np.array([True, slot != CAMERA_SLOTS[1]]) for slot in CAMERA_SLOTS}
    mask = np.arange(9) < np.array(PROMPT_LENGTHS)[:, None]
    tokens = np.where(mask, rng.integers(2, VOCABULARY, (ROWS, 9)), 0).astype(np.int32)
    state = rng.normal(size=(ROWS, SMALL.action_dim)).astype(np.float32)
    return Observation(images, masks, state, tokens, mask)


def small_target() -> TextTarget:
    """Five tokens and the end; two tokens and the end, padded."""
    return TextTarget(
        np.array([[5, 9, 7, 30, 12, END], [8, 8, END, 0, 0, 0]], np.int32),
        np.arange(6) < np.array([6, 3])[:, None],
    )
