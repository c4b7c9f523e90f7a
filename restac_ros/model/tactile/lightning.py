"""The one module that imports torch: PyTorch Lightning checkpoints.

Files are untrusted: a checkpoint is read as plain tensors and containers only, which executes nothing in it.
Imported when such a file is opened.
"""

import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from restac_ros.git_lfs import what_it_is
from restac_ros.model.tactile.errors import TactileFileError
from restac_ros.whole_files import replaced

_MAX_FILE_BYTES = 8 * 2**30
MAX_UNPACKED_BYTES = 64 * 2**20  # PyTorch compresses nothing but code

_WRITTEN_AS = '2.4.0'  # version of PyTorch Lightning whose layout is written

_RESAVE = (
    'Where you trust its origin, save it again without objects:  '
    "c = torch.load(PATH, weights_only=False, map_location='cpu'); "
    "torch.save({'state_dict': c['state_dict'], "
    "'hyper_parameters': plain dicts, lists and numbers}, NEW_PATH)"
)


class LightningFile(NamedTuple):
    """A model as a Lightning checkpoint describes it."""

    tensors: dict[str, np.ndarray]
    hyper_parameters: dict[str, Any]
    version: str  # of PyTorch Lightning, as the file states it


def read_lightning(path: Path) -> LightningFile:
    """Read `state_dict` and `hyper_parameters`; floating tensors come as float32.

    Raises:
        FileNotFoundError: no such file.
        TactileFileError: damaged, needs pickled objects, or not a Lightning checkpoint.
    """
    _check_archive(path)
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise TactileFileError(_pickle_refused(path, str(error))) from error
    except (RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise TactileFileError(f'{path}: not a readable PyTorch checkpoint ({_first_line(error)})') from error
    sections = {'state_dict': dict, 'hyper_parameters': dict}
    for name, kind in sections.items():
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            keys = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
            raise TactileFileError(f"{path}: found {keys}, expected a dict '{name}' as Lightning writes it")
    tensors = {str(name): _to_numpy(path, name, value) for name, value in content['state_dict'].items()}
    return LightningFile(
        tensors, content['hyper_parameters'], str(content.get('pytorch-lightning_version', 'not stated'))
    )


def write_lightning(
    path: Path, tensors: Mapping[str, np.ndarray], hyper_parameters: Mapping[str, Any], global_step: int
) -> None:
    """Write a file that `read_lightning` reads: tensors and plain values, no object of any library.

    The file appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        'state_dict': {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()},
        'hyper_parameters': dict(hyper_parameters),
        'pytorch-lightning_version': _WRITTEN_AS,
        'epoch': 0,
        'global_step': global_step,
    }
    try:
        with replaced(path) as partial, partial.open('wb') as file:
            torch.save(content, file)  # of a path it would store the name
    except (RuntimeError, OSError) as error:
        if (cause := _system_error(error)) is None:
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


def _check_archive(path: Path) -> None:
    """Refuse what is not a whole zip archive, or unpacks to much more than it is, before torch opens it."""
    size = path.stat().st_size
    if size > _MAX_FILE_BYTES:
        raise TactileFileError(f'{path}: found {size} bytes, expected at most {_MAX_FILE_BYTES}')
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(i.file_size for i in archive.infolist() if i.compress_type != zipfile.ZIP_STORED)
            if unpacked > MAX_UNPACKED_BYTES:
                raise TactileFileError(
                    f'{path}: found compressed records of {unpacked} bytes, expected at most '
                    f'{MAX_UNPACKED_BYTES}; PyTorch stores tensors uncompressed'
                )
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise TactileFileError(
            f'{path}: truncated, damaged or not a PyTorch zip file ({error}; {what_it_is(path)}); copy it '
            'again, '
            'or save it with torch.save of PyTorch 1.6 or later'
        ) from error
    if damaged is not None:
        raise TactileFileError(f'{path}: record {damaged} is damaged (checksum); copy the file again')


def _to_numpy(path: Path, name: Any, value: Any) -> np.ndarray:
    entry = f'{path}: state_dict[{name!r}]'
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
        raise TactileFileError(f'{entry}: found {type(value).__name__}, expected a dense tensor')
    # A tensor may claim any shape over a small storage; converting would then allocate without bound.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise TactileFileError(f'{entry}: shape {tuple(value.shape)} exceeds the stored values')
    return (value.float() if value.is_floating_point() else value).detach().numpy()


def _pickle_refused(path: Path, message: str) -> str:
    named = re.search(r'GLOBAL\s+(\S+)', message)
    what = f'the Python object {named.group(1)}' if named else f'({message.splitlines()[0]})'
    return (
        f'{path}: refused, since it needs {what}, and unpickling objects can execute code hidden in the '
        f'file; expected tensors and plain containers. {_RESAVE}'
    )


def _system_error(error: BaseException | None) -> OSError | None:
    """What the file said, which torch reports as an error of its own."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
