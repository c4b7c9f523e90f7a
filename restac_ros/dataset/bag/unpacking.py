"""Decompression within a limit: what a file announces is checked, what it unpacks to is counted."""

import shutil
import tempfile
from pathlib import Path

import lz4.frame
import zstandard

from restac_ros.dataset.errors import BagError

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'  # no CDR message begins so: its first byte is 0
PACKED = '.zstd'
MAX_MESSAGE_BYTES = 512 * 2**20  # beyond any driver's message
MAX_RESERVE_BYTES = 2**30  # of the temporary disk, which must stay free
_PIECE_BYTES = 4 * 2**20


class UnpackError(ValueError):
    """Bytes that do not decompress to what was announced."""


def unpack(data: bytes, compression: str, limit: int) -> bytes:
    """Decompress `data` (zstd or lz4 frames) to at most `limit` bytes; never use more memory than that.

    Raises:
        UnpackError: it is damaged, larger than the limit, or of another compression.
    """
    if compression == 'zstd':
        return _unpack_zstd(data, limit)
    if compression != 'lz4':
        raise UnpackError(f'compression {compression!r} is not known; expected zstd or lz4')
    decompressor = lz4.frame.LZ4FrameDecompressor()
    try:
        unpacked = decompressor.decompress(data, max_length=limit + 1)
    except RuntimeError as error:
        raise UnpackError(str(error)) from error
    if len(unpacked) > limit or not decompressor.eof:
        raise UnpackError(f'{len(unpacked)} bytes or more, {limit} expected')
    return unpacked


def _unpack_zstd(data: bytes, limit: int) -> bytes:
    try:
        announced = zstandard.frame_content_size(data)  # -1 where the frame does not state it
        if announced > limit:
            raise UnpackError(f'{announced} bytes announced, at most {limit} expected')
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=max(1, limit))
    except zstandard.ZstdError as error:
        raise UnpackError(f'{error} (at most {limit} bytes expected)') from error


def unpack_message(cdr: bytes) -> bytes:
    """Unpack a message that rosbag2 compressed by itself; return others, and damaged ones, as they are."""
    if cdr[:4] != ZSTD_MAGIC:
        return cdr
    try:
        announced = zstandard.frame_content_size(cdr)
        # A frame that does not state its size is bounded by the worst ratio of real messages.
        return _unpack_zstd(cdr, min(MAX_MESSAGE_BYTES, announced if announced >= 0 else 1000 * len(cdr)))
    except (UnpackError, zstandard.ZstdError):
        return cdr  # counted as unreadable when it is dated


def unpack_file(path: Path) -> tuple[tempfile.TemporaryDirectory, Path, str]:
    """Unpack NAME.zstd into a new temporary directory; return it, the file, and what of it was damaged or ''.

    Raises:
        BagError: nothing can be unpacked, or the temporary disk has no room.
    """
    folder = tempfile.TemporaryDirectory(prefix='restac_ros_bag_')
    unpacked = Path(folder.name) / path.name.removesuffix(PACKED)
    usage = shutil.disk_usage(folder.name)
    room = usage.free - min(MAX_RESERVE_BYTES, usage.total // 10)
    written, damage = 0, ''
    with path.open('rb') as packed, unpacked.open('wb') as out:
        head = packed.read(18)
        try:
            announced = zstandard.frame_content_size(head)
        except zstandard.ZstdError as error:
            raise BagError(f'{path} is no zstd file: it begins with {head[:8]!r}.') from error
        if announced > room:
            raise _no_room(path, folder.name, announced, room)
        packed.seek(0)
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        try:
            while piece := reader.read(_PIECE_BYTES):
                written += len(piece)
                if written > room:
                    raise _no_room(path, folder.name, written, room)
                out.write(piece)
        except zstandard.ZstdError as error:
            damage = f'damaged after {written} unpacked bytes: {error}'
    if not written:
        raise BagError(f'{path} unpacks to nothing: {damage or "it is cut off"}. Fetch the file again.')
    return folder, unpacked, damage


def _no_room(path: Path, folder: str, needed: int, room: int) -> BagError:
    return BagError(
        f'{path} unpacks to {needed / 1e9:.2f} GB or more, {folder} has {max(0, room) / 1e9:.2f} GB free. '
        'Free some, or set TMPDIR to a larger disk.'
    )
