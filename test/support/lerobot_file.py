"""Writes pi0.5 parameters as LeRobot stores them, which the package itself only reads."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from einops import rearrange
from safetensors.numpy import save_file

from restac_ros.model.checkpoint.huggingface_names import EMBEDDING, PI05_TENSORS, PREFIX, TIED_HEAD


def write_huggingface(path: Path, params: Mapping[str, np.ndarray]) -> None:
    """One safetensors file of the leaves that plain pi0.5 has."""
    tensors: dict[str, np.ndarray] = {}
    for tensor in PI05_TENSORS:
        value = np.asarray(params[tensor.leaf])
        for name, index in tensor.places(value.shape):
            stored = TIED_HEAD if name == EMBEDDING else name
            tensors[PREFIX + stored] = np.ascontiguousarray(rearrange(value[index], tensor.layout))
    save_file(tensors, path, metadata={'format': 'pt'})
