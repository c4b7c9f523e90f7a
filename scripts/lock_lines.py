"""Prints requirements.lock from pip's reports: BASE.json, then one LAYER.json for each CUDA."""

import json
import sys
from pathlib import Path

HEAD = """\
# One resolution of pyproject.toml, extras ray, sim, test, underlay and view (Python 3.12, Linux x86-64).
# Lines with an extra are JAX's CUDA layers: scripts/setup.sh installs at most one of them.
# Renew with: make lock"""


def versions(report: str) -> dict[str, str]:
    """Return the version of each package that pip would install, without ours."""
    installed = json.loads(Path(report).read_text(encoding='utf-8'))['install']
    found = {
        one['metadata']['name'].lower().replace('_', '-'): one['metadata']['version'] for one in installed
    }
    found.pop('restac-ros', None)
    return found


def main() -> None:
    """Print the lock: the base, then what each layer adds to it."""
    base = versions(sys.argv[1])
    lines = [f'{name}=={base[name]}' for name in sorted(base)]
    for report in sys.argv[2:]:
        layer = versions(report)
        added = sorted(set(layer) - set(base))
        lines += [f"{name}=={layer[name]} ; extra == '{Path(report).stem}'" for name in added]
    print('\n'.join([HEAD, *lines]))


if __name__ == '__main__':
    main()
