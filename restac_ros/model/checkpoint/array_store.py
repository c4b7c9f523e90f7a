"""Reading single arrays out of an orbax directory with bounded memory.

orbax stores leaves as zarr arrays inside an OCDBT key-value store. A plain read decodes a whole chunk in the
stored dtype beside the result; openpi writes one chunk per leaf on a single device, and its largest leaf is
more than a third of the model. Such chunks are decompressed here piece by piece, straight into the result.
"""

import itertools
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import tensorstore as ts
import zstandard

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.params import check_leaf_size

STREAM_ABOVE_BYTES = 64 << 20
"""Chunks that decode to more than this are streamed."""

IN_FLIGHT_BYTES = 32 << 20
"""Decoded bytes of ordinary chunks that may be in memory at once."""

_PIECE_BYTES = 8 << 20
_DEVICE_ALIGNMENT = 64
_FRAME_HEAD_BYTES = 18  # of zstd, at most
_MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredArray:
    """One array on disk; nothing of its content is in memory."""

    source: str  # directory, for messages
    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype
    handle: ts.TensorStore
    header: dict | None  # zarr v2 header, None for zarr v3

    @property
    def chunk_bytes(self) -> int:
        """Size of one decoded chunk."""
        return int(np.prod(self.chunks, dtype=np.int64)) * self.dtype.itemsize

    def size_in(self, dtype: np.dtype) -> int:
        """Bytes of the whole array in a dtype."""
        return int(np.prod(self.shape, dtype=np.int64)) * dtype.itemsize

    @property
    def stream_header(self) -> dict | None:
        """The header of an array that is one zstd-compressed chunk in row-major order; None for others."""
        header = self.header
        is_one = (
            header is not None
            and self.chunks == self.shape
            and header['order'] == 'C'
            and not header.get('filters')
            and (header.get('compressor') or {}).get('id') == 'zstd'
        )
        return header if is_one else None

    def read(self, dtype: np.dtype) -> np.ndarray:
        """Return the array in `dtype`.

        Raises:
            CheckpointError: a chunk is missing, truncated or does not decode.
        """
        out = _empty(self.shape, dtype)
        try:
            if (header := self.stream_header) and self.chunk_bytes > STREAM_ABOVE_BYTES:
                _stream_into(self, header, out)
            else:
                _check_chunk_sizes(self)
                _copy_into(self, out)
        except (ValueError, OSError, zstandard.ZstdError) as error:
            raise CheckpointError(
                f'{self.source}: leaf {self.name!r} cannot be read: {error}. The checkpoint is damaged or '
                'incomplete; copy or download it again'
            ) from error
        return out


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return room for an array at an address that JAX's CPU device takes over without a copy."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    room = np.empty(size + _DEVICE_ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _DEVICE_ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def open_store(directory: Path) -> ts.KvStore:
    """Open the OCDBT store of an orbax directory.

    Raises:
        CheckpointError: no such store, or a damaged manifest.
    """
    manifest = directory / 'manifest.ocdbt'
    if not manifest.is_file():
        raise CheckpointError(
            f'{manifest}: no such file; expected the "params" directory of an orbax checkpoint (OCDBT layout)'
        )
    try:
        # A cache of size zero: every decoded chunk is used once, keeping it would double the memory.
        context = ts.Context({'cache_pool': {'total_bytes_limit': 0}})
        return ts.KvStore.open({'driver': 'ocdbt', 'base': directory.as_uri()}, context=context).result()
    except (ValueError, OSError) as error:
        raise CheckpointError(f'{manifest}: not a readable OCDBT store: {error}') from error


def open_array(store: ts.KvStore, directory: Path, key: str, name: str, *, zarr3: bool) -> StoredArray:
    """Open the array under `key` without reading its content.

    Raises:
        CheckpointError: missing or damaged header, unsupported dtype, absurd size.
    """
    source = str(directory)
    try:
        handle = ts.open(
            {'driver': 'zarr3' if zarr3 else 'zarr', 'kvstore': store.spec().to_json() | {'path': key + '/'}},
            open=True,
            read=True,
            context=ts.Context({'cache_pool': {'total_bytes_limit': 0}}),
        ).result()
        dtype = np.dtype(handle.dtype.numpy_dtype)
        header = None if zarr3 else _read_header(store, key)
    except (ValueError, OSError, TypeError) as error:
        raise CheckpointError(f'{source}: leaf {name!r} has no readable header: {error}') from error
    check_leaf_size(source, name, handle.shape, dtype.itemsize)
    sides = handle.chunk_layout.read_chunk.shape or ()  # none of a scalar; None is a side that is not divided
    chunks = tuple(whole if side is None else side for side, whole in zip(sides, handle.shape, strict=True))
    return StoredArray(source, name, tuple(handle.shape), chunks, dtype, handle, header)


def _read_header(store: ts.KvStore, key: str) -> dict:
    raw = store.read(f'{key}/.zarray').result().value
    if len(raw) > _MAX_HEADER_BYTES:
        raise ValueError(f'header of {len(raw)} bytes')
    return json.loads(raw)


def _copy_into(array: StoredArray, out: np.ndarray) -> None:
    """Copy chunk by chunk, converting on the way, with bounded bytes in flight."""
    source = ts.cast(array.handle, ts.dtype(out.dtype)) if out.dtype != array.dtype else array.handle
    target = ts.array(out)
    limit = max(1, IN_FLIGHT_BYTES // max(1, array.chunk_bytes))
    pending: deque[ts.WriteFutures] = deque()
    for region in _regions(array.shape, array.chunks):
        if len(pending) >= limit:
            pending.popleft().result()
        pending.append(target[region].write(source[region]))
    for write in pending:
        write.result()


def _check_chunk_sizes(array: StoredArray) -> None:
    """Refuse chunks that unpack to more than they may: the reader would allocate first, and check then."""
    if ((array.header or {}).get('compressor') or {}).get('id') != 'zstd':
        return
    store = _chunk_store(array)
    for key in _chunk_keys(array):
        if store.read(key, byte_range=slice(0, 1)).result().state != 'value':
            continue  # absent: all of it has the fill value
        size = zstandard.frame_content_size(_StoredValue(store, key).read(_FRAME_HEAD_BYTES))
        if size < 0:  # the frame states no size: count
            reader, size = _unpacking(store, key), 0
            while size <= array.chunk_bytes and (piece := reader.read(_PIECE_BYTES)):
                size += len(piece)
        if size > array.chunk_bytes:
            raise ValueError(f'chunk {key} unpacks to {size} bytes or more, {array.chunk_bytes} expected')


def _chunk_store(array: StoredArray) -> ts.KvStore:
    store = array.handle.kvstore
    if store is None:
        raise ValueError('its chunks are in no key-value store')
    return ts.KvStore.open(store.spec()).result()


def _chunk_keys(array: StoredArray) -> list[str]:
    """Keys of a zarr v2 array's chunks."""
    separator = (array.header or {}).get('dimension_separator', '.')
    counts = [-(-side // chunk) for side, chunk in zip(array.shape, array.chunks, strict=True)]
    return [separator.join(map(str, index)) or '0' for index in np.ndindex(*counts)]


def _unpacking(store: ts.KvStore, key: str) -> zstandard.ZstdDecompressionReader:
    value = cast(IO[bytes], _StoredValue(store, key))  # the reader only calls `read`
    return zstandard.ZstdDecompressor().stream_reader(value)


def _regions(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    starts = [range(0, side, chunk) for side, chunk in zip(shape, chunks, strict=True)]
    for corner in itertools.product(*starts):
        ends = (min(a + c, s) for a, c, s in zip(corner, chunks, shape, strict=True))
        yield tuple(slice(a, b) for a, b in zip(corner, ends, strict=True))


def _stream_into(array: StoredArray, header: dict, out: np.ndarray) -> None:
    """Decompress the array's only chunk piece by piece into `out`."""
    store, key = _chunk_store(array), header.get('dimension_separator', '.').join('0' for _ in array.shape)
    endian = array.dtype.newbyteorder('>') if header['dtype'].startswith('>') else array.dtype
    reader = _unpacking(store, key)
    flat, piece, filled = out.reshape(-1), _PIECE_BYTES // endian.itemsize, 0
    while filled < flat.size:
        wanted = min(piece, flat.size - filled)
        raw = _read_exactly(reader, wanted * endian.itemsize)
        if len(raw) < wanted * endian.itemsize:
            raise ValueError(
                f'chunk {key} ends after {filled + len(raw) // endian.itemsize} of {flat.size} values'
            )
        flat[filled : filled + wanted] = np.frombuffer(raw, endian)
        filled += wanted
    if reader.read(1):
        raise ValueError(f'chunk {key} holds more than the {flat.size} values of the array')


def _read_exactly(reader: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    pieces, missing = [], size
    while missing and (piece := reader.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b''.join(pieces)


class _StoredValue:
    """One value of a key-value store as a readable stream, fetched by byte ranges."""

    def __init__(self, store: ts.KvStore, key: str) -> None:
        self._store, self._key, self._offset = store, key, 0

    def read(self, size: int) -> bytes:
        try:
            result = self._fetch(slice(self._offset, self._offset + size))
        except ValueError:  # the store refuses a range beyond the end: this is the last, shorter piece
            result = self._fetch(slice(self._offset, None))
        self._offset += len(result)
        return result

    def _fetch(self, byte_range: slice) -> bytes:
        result = self._store.read(self._key, byte_range=byte_range).result()
        if result.state != 'value':
            raise ValueError(f'chunk {self._key} is missing')
        return result.value
