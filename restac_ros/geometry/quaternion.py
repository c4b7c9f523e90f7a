"""Rotations as unit quaternions in ROS's order x, y, z, w, over any leading axes.

Checked against scipy.spatial.transform, which is not used itself: for a single pose its products and
differences take 3 to 14 times as long, and loading it costs every process 0.2 s and 39 MiB.


Products compose right to left, as matrices do: `multiply(a, b)` turns by b first, then by a, both about the
fixed axes of the base frame.
"""

import numpy as np

_CONJUGATE = np.array([-1.0, -1.0, -1.0, 1.0])
# q p = M(q) p with M linear in q: row i of M is q in another order with other signs.
_ORDER = np.array([[3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2], [0, 1, 2, 3]])
_SIGN = np.array([[1.0, -1, 1, 1], [1, 1, -1, 1], [-1, 1, 1, 1], [-1, -1, -1, 1]])


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Hamilton product [..., 4]."""
    return ((left[..., _ORDER] * _SIGN) @ right[..., None])[..., 0]


def inverse(quaternion: np.ndarray) -> np.ndarray:
    """The opposite rotation [..., 4]."""
    return quaternion * _CONJUGATE


def normalise(quaternion: np.ndarray) -> np.ndarray:
    """Unit length [..., 4]; the caller has checked that the length is not zero."""
    return quaternion / _length(quaternion)


def from_rotvec(rotvec_rad: np.ndarray) -> np.ndarray:
    """Axis times angle [..., 3] -> [..., 4]."""
    rotvec_rad = np.asarray(rotvec_rad, dtype=np.float64)
    half = 0.5 * _length(rotvec_rad)
    # sinc(half / pi) is sin(half) / half, also at 0.
    return np.concatenate([0.5 * rotvec_rad * np.sinc(half / np.pi), np.cos(half)], axis=-1)


def to_rotvec(quaternion: np.ndarray) -> np.ndarray:
    """[..., 4] -> axis times angle [..., 3], angle in [0, pi]: the shorter way round."""
    quaternion = np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    sine = _length(quaternion[..., :3])
    angle = 2 * np.arctan2(sine, quaternion[..., 3:])
    return quaternion[..., :3] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)


def from_rpy(rpy_rad: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw about the fixed x, y, z axes [..., 3] -> [..., 4]."""
    half = 0.5 * np.asarray(rpy_rad, dtype=np.float64)
    (sr, sp, sy), (cr, cp, cy) = (np.moveaxis(f(half), -1, 0) for f in (np.sin, np.cos))
    return np.stack(
        [
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        ],
        axis=-1,
    )


def to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Unit quaternions [..., 4] -> rotation matrices [..., 3, 3]."""
    x, y, z, w = np.moveaxis(np.asarray(quaternion, dtype=np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] -> unit quaternions [..., 4], sign arbitrary.

    Of the four equivalent formulas the one with the largest divisor is used (Shepperd 1978).
    """
    m = np.moveaxis(np.asarray(matrix, dtype=np.float64), (-2, -1), (0, 1))
    xx, yy, zz = m[0, 0], m[1, 1], m[2, 2]
    xy, xz, yz = m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2]
    xw, yw, zw = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    rows = [
        [1 + xx - yy - zz, xy, xz, xw],
        [xy, 1 - xx + yy - zz, yz, yw],
        [xz, yz, 1 - xx - yy + zz, zw],
        [xw, yw, zw, 1 + xx + yy + zz],
    ]
    outer = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)  # 4 q q^T
    largest = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    row = np.take_along_axis(outer, largest[..., None, None], axis=-2)[..., 0, :]
    return row / np.linalg.norm(row, axis=-1, keepdims=True)


def difference(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The rotation vector [..., 3] that leads from `old` to `new`, angle at most pi."""
    return to_rotvec(multiply(new, inverse(old)))


def slerp(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """Constant angular velocity along the shorter arc [4]; fraction 0 gives `start`, 1 `end`."""
    return normalise(multiply(from_rotvec(fraction * difference(end, start)), start))


def product(factors: np.ndarray) -> np.ndarray:
    """factors[0] factors[1] ... factors[n-1] of [n, 4], n >= 1, in log2(n) vectorised rounds."""
    while len(factors) > 1:
        pairs = multiply(factors[: len(factors) // 2 * 2 : 2], factors[1::2])
        factors = np.concatenate([pairs, factors[-1:]]) if len(factors) % 2 else pairs
    return normalise(factors[0])


def mean(quaternions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean [4] of [n, 4]: the dominant eigenvector of sum w q q^T (Markley et al. 2007).

    It minimises the weighted squared chordal distance and ignores the signs of the quaternions.
    """
    _, vectors = np.linalg.eigh(np.einsum('n,ni,nj->ij', weights, quaternions, quaternions))
    return vectors[:, -1]


def _length(rows: np.ndarray) -> np.ndarray:
    # A third of the time of np.linalg.norm, which matters a hundred times a second.
    return np.sqrt((rows * rows).sum(axis=-1, keepdims=True))
