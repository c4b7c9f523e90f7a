"""The layers of the architecture, as data, held against every import in the package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# layer -> (layers of ours, libraries) that it may import, besides the standard library
LAYERS: dict[str, tuple[set[str], set[str]]] = {
    'geometry': (set(), {'numpy'}),
    'contract': ({'geometry'}, {'numpy', 'pydantic', 'pydantic_core', 'yaml'}),
    'framing': ({'contract', 'geometry'}, {'cv2', 'numpy', 'PIL', 'rosbags'}),
    'model': (
        set(),
        {'einops', 'flax', 'jax', 'jaxtyping', 'ml_dtypes', 'numpy', 'optax', 'orbax', 'safetensors'},
    ),
    'policy': (
        {'contract', 'geometry', 'framing', 'model'},
        {'flax', 'jax', 'jaxtyping', 'numpy', 'sentencepiece'},
    ),
    'control': ({'contract', 'geometry'}, {'numpy'}),
    'dataset': (
        {'contract', 'framing'},
        {
            'av',
            'cv2',
            'datasets',
            'lerobot',
            'matplotlib',
            'mcap',
            'numpy',
            'PIL',
            'pyarrow',
            'rosbags',
            'torch',
            'yaml',
        },
    ),
    'training': (
        {'contract', 'dataset', 'model', 'policy'},
        {'flax', 'jax', 'numpy', 'optax', 'orbax', 'tyro'},
    ),
    'sim': ({'contract', 'geometry'}, {'mujoco', 'numpy'}),
    'view': ({'contract', 'geometry', 'framing', 'dataset'}, {'cv2', 'numpy'}),
    'runtime': (
        {'contract', 'framing', 'model', 'policy', 'control', 'dataset', 'graph'},
        {'numpy'},
    ),
    'recording': ({'contract', 'framing', 'dataset'}, {'numpy'}),
    'nodes': (
        {
            'contract',
            'geometry',
            'framing',
            'model',
            'policy',
            'control',
            'dataset',
            'sim',
            'view',
            'runtime',
            'recording',
            'graph',
        },
        {
            'builtin_interfaces',
            'diagnostic_msgs',
            'geometry_msgs',
            'lifecycle_msgs',
            'nav_msgs',
            'numpy',
            'pydantic',
            'rcl_interfaces',
            'rclpy',
            'rosgraph_msgs',
            'rosidl_runtime_py',
            'sensor_msgs',
            'std_msgs',
            'std_srvs',
            'visualization_msgs',
            'cv2',
        },
    ),
    'bench': (
        {'contract', 'framing', 'model', 'policy', 'control', 'dataset', 'graph', 'supervise'},
        {'flax', 'jax', 'numpy', 'psutil', 'rich', 'yaml'},
    ),
    'graph': ({'contract'}, set()),
    'supervise': ({'graph'}, {'rich'}),
    'launching': ({'graph', 'supervise'}, {'launch', 'launch_ros'}),
    'cli': ({'commands'}, {'tyro'}),
    'commands': (
        {
            'contract',
            'framing',
            'model',
            'policy',
            'control',
            'dataset',
            'training',
            'sim',
            'view',
            'bench',
            'graph',
            'supervise',
        },
        {'numpy', 'rich', 'tyro'},
    ),
}

# One file per rule-breaking library: torch only reads other people's checkpoints, orbax reads whole chunks
# (more memory than a full-size checkpoint may take), matplotlib is too slow to draw live, ray is an extra.
ONLY_HERE = {
    ('dataset', 'ray'): 'dataset/ray_engine.py',
    ('model', 'tensorstore'): 'model/checkpoint/array_store.py',
    ('model', 'torch'): 'model/tactile/lightning.py',
    ('model', 'zstandard'): 'model/checkpoint/array_store.py',
    ('view', 'matplotlib'): 'view/preview.py',
}

# The messages are generated into the package; only nodes speak them.
GENERATED = {'msg'}


def imports_of(file: Path) -> set[str]:
    """Absolute module names a file imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{file}:{node.lineno}: relative import; name the module in full'
            found |= {f'{node.module}.{alias.name}' for alias in node.names}
    return found


def violations(package: Path) -> list[str]:
    """Every import that the table does not allow, as readable lines."""
    found = []
    for file in sorted(package.rglob('*.py')):
        relative = file.relative_to(package)
        layer = relative.parts[0].removesuffix('.py')
        if layer == '__init__':
            continue
        ours, libraries = LAYERS[layer]
        for name in sorted(imports_of(file)):
            top, _, rest = name.partition('.')
            inner = rest.partition('.')[0]
            if top == 'restac_ros':
                allowed = inner == layer or inner in ours or (layer == 'nodes' and inner in GENERATED)
            else:
                allowed = (
                    top in sys.stdlib_module_names
                    or top in libraries
                    or ONLY_HERE.get((layer, top)) == relative.as_posix()
                )
            if not allowed:
                found.append(f'{relative.as_posix()} imports {name}, which layer {layer!r} may not')
    return found


def test_every_import_follows_the_layers(repository: Path) -> None:
    assert violations(repository / 'restac_ros') == []


def test_the_check_sees_a_violation(tmp_path: Path) -> None:
    (tmp_path / 'framing').mkdir()
    (tmp_path / 'framing' / 'bad.py').write_text(
        'import torch\nfrom restac_ros.nodes.policy import policy_node\nimport json\n'
    )
    assert len(violations(tmp_path)) == 2


def test_package_initialisers_hold_only_a_docstring(repository: Path) -> None:
    for file in (repository / 'restac_ros').rglob('__init__.py'):
        body = ast.parse(file.read_text(encoding='utf-8')).body
        assert len(body) == 1, f'{file} holds code'
        assert ast.get_docstring(ast.parse(file.read_text(encoding='utf-8'))), f'{file} has no docstring'


def test_nothing_shadows_the_generated_interfaces(repository: Path) -> None:
    for name in ('msg', 'srv', 'action'):
        assert not list((repository / 'restac_ros').glob(f'{name}*')), (
            f'restac_ros/{name} would hide what rosidl generates'
        )


@pytest.mark.parametrize(
    'module', ['restac_ros.policy.policy', 'restac_ros.dataset.journal', 'restac_ros.framing.framer']
)
def test_the_core_loads_neither_ros_nor_torch(module: str) -> None:
    probe = f'import sys, {module}; print([m for m in ("rclpy", "torch") if m in sys.modules])'
    run = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == '[]', run.stderr or run.stdout


def test_only_nodes_and_front_ends_read_a_clock(repository: Path) -> None:
    readers = []
    for file in sorted((repository / 'restac_ros').rglob('*.py')):
        layer = file.relative_to(repository / 'restac_ros').parts[0].removesuffix('.py')
        if layer in {'nodes', 'runtime', 'bench', 'supervise', 'commands'}:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {
                'time.time',
                'time.time_ns',
                'time.monotonic',
                'time.monotonic_ns',
                'time.perf_counter',
                'datetime.now',
            }:
                readers.append(f'{file.name}:{node.lineno} reads {ast.unparse(node)}')
    assert readers == []
