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
        {'git_lfs', 'whole_files'},
        {'einops', 'flax', 'jax', 'jaxtyping', 'ml_dtypes', 'numpy', 'optax', 'orbax', 'safetensors'},
    ),
    'policy': (
        {'contract', 'geometry', 'framing', 'model', 'whole_files'},
        {'flax', 'jax', 'jaxtyping', 'numpy', 'scipy', 'sentencepiece', 'tokenizers'},
    ),
    'control': ({'contract', 'geometry'}, {'numpy'}),
    'git_lfs': (set(), set()),
    'whole_files': ({'git_lfs'}, set()),
    'dataset': (
        {'contract', 'framing', 'git_lfs', 'whole_files'},
        {
            'av',
            'cv2',
            'datasets',
            'jinja2',
            'lerobot',
            'lz4',
            'matplotlib',
            'mcap',
            'numpy',
            'PIL',
            'pyarrow',
            'rosbags',
            'torch',
            'yaml',
            'zstandard',
        },
    ),
    'training': (
        {'contract', 'dataset', 'framing', 'geometry', 'model', 'policy'},
        {
            'absl',
            'av',
            'cv2',
            'flax',
            'grain',
            'jax',
            'jaxtyping',
            'matplotlib',
            'numpy',
            'optax',
            'orbax',
            'pyarrow',
            'tensorboardX',
            'wandb',
        },
    ),
    'sim': ({'contract', 'control', 'framing', 'geometry', 'whole_files'}, {'cv2', 'numpy'}),
    'view': ({'contract', 'geometry', 'framing', 'control', 'dataset'}, {'cv2', 'numpy', 'PIL', 'rerun'}),
    'runtime': (
        {
            'contract',
            'geometry',
            'framing',
            'model',
            'policy',
            'control',
            'dataset',
            'installation',
            'whole_files',
        },
        {'numpy', 'psutil', 'pydantic'},
    ),
    'recording': ({'contract', 'framing', 'dataset', 'runtime'}, {'psutil'}),
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
            'installation',
            'parameter_file',
            'process',
            'stopping',
        },
        {
            'action_msgs',
            'builtin_interfaces',
            'diagnostic_msgs',
            'geometry_msgs',
            'lifecycle_msgs',
            'nav_msgs',
            'numpy',
            'pydantic',
            'rcl_interfaces',
            'rclpy',
            'rerun',
            'rich',
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
        {
            'contract',
            'geometry',
            'framing',
            'model',
            'policy',
            'control',
            'dataset',
            'training',
            'sim',
            'runtime',
            'graph',
            'installation',
            'process',
            'supervise',
            'whole_files',
        },
        {'av', 'cv2', 'flax', 'jax', 'numpy', 'optax', 'psutil', 'pyarrow', 'rich', 'yaml'},
    ),
    'graph': ({'installation', 'parameter_file', 'process'}, set()),
    'installation': (set(), set()),
    'process': ({'installation', 'program'}, set()),
    'program': ({'stopping'}, set()),
    'parameter_file': ({'contract', 'whole_files'}, {'yaml'}),
    'stopping': (set(), set()),
    'supervise': ({'process', 'stopping'}, set()),
    'launching': ({'graph', 'installation', 'process', 'supervise'}, {'launch', 'launch_ros'}),
    'cli': ({'commands', 'stopping'}, {'tyro'}),
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
            'installation',
            'process',
            'stopping',
            'supervise',
        },
        {'numpy', 'rich', 'tyro'},
    ),
}

# One place per rule-breaking library or layer: torch only reads other people's checkpoints, orbax reads whole
# chunks (more memory than a full-size checkpoint may take), matplotlib is too slow to draw live, ray and
# mujoco are extras. Of the cell, only the evaluation of policies in it knows policies and their runtime.
ONLY_HERE = {
    ('dataset', 'ray'): 'dataset/ray_engine.py',
    ('model', 'tensorstore'): 'model/checkpoint/array_store.py',
    ('model', 'torch'): 'model/tactile/lightning.py',
    ('model', 'zstandard'): 'model/checkpoint/array_store.py',
    ('sim', 'mujoco'): 'sim/cell',
    **dict.fromkeys(
        [
            ('sim', part)
            for part in (
                'dataset',
                'graph',
                'installation',
                'jax',
                'jaxtyping',
                'matplotlib',
                'model',
                'parameter_file',
                'policy',
                'runtime',
                'training',
            )
        ],
        'sim/evaluation',
    ),
    ('training', 'wandb'): 'training/progress.py',
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


def is_place_of(place: str | None, file: Path) -> bool:
    """Whether `place` is the file, or a folder that holds it."""
    return place is not None and Path(place) in (file, *file.parents)


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
                allowed = (
                    inner == layer
                    or inner in ours
                    or (layer == 'nodes' and inner in GENERATED)
                    or is_place_of(ONLY_HERE.get((layer, inner)), relative)
                )
            else:
                allowed = (
                    top in sys.stdlib_module_names
                    or top in libraries
                    or is_place_of(ONLY_HERE.get((layer, top)), relative)
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
    'module',
    [
        'restac_ros.policy.policy',
        'restac_ros.dataset.journal',
        'restac_ros.framing.framer',
        'restac_ros.training.trainer',
    ],
)
def test_the_core_loads_neither_ros_nor_torch(module: str) -> None:
    probe = f'import sys, {module}; print([m for m in ("rclpy", "torch") if m in sys.modules])'
    run = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == '[]', run.stderr or run.stdout


def test_the_command_line_loads_no_network() -> None:
    """Half a second of every command."""
    heavy = '("jax", "torch", "rclpy", "lerobot", "mujoco", "pandas", "matplotlib")'
    probe = f'import sys, restac_ros.cli; print([m for m in {heavy} if m in sys.modules])'
    run = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == '[]', run.stderr or run.stdout


CLOCKS = {
    'time': {'time', 'time_ns', 'monotonic', 'monotonic_ns', 'perf_counter', 'perf_counter_ns'},
    'datetime': {'now', 'utcnow', 'today'},
}
MAY_READ_CLOCKS = {
    'nodes',
    'bench',
    'supervise',
    'commands',
    'recording/recorder.py',  # a journal is named by the wall, also under a simulated clock, which may repeat
}
# The drill is a source itself, with an arm in it, and stands where the streamer's subscribers do.
MAY_BORROW = {'drill': {'source', 'streamer'}}


def clock_readers(package: Path) -> list[str]:
    """Every use of a clock below the nodes and front ends, however it is imported, as readable lines."""
    found = []
    for file in sorted(package.rglob('*.py')):
        relative = file.relative_to(package)
        if {relative.parts[0].removesuffix('.py'), relative.as_posix()} & MAY_READ_CLOCKS:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            names = set()
            if isinstance(node, ast.ImportFrom) and node.module == 'time':
                names = {f'time.{alias.name}' for alias in node.names if alias.name in CLOCKS['time']}
            elif isinstance(node, ast.Attribute):
                owner = ast.unparse(node.value).rpartition('.')[2]
                module = {'time': 'time', 'datetime': 'datetime', 'date': 'datetime'}.get(owner, '')
                names = {ast.unparse(node)} if node.attr in CLOCKS.get(module, set()) else set()
            found += [f'{relative.as_posix()}:{node.lineno} reads {name}' for name in sorted(names)]
    return found


def test_only_nodes_and_front_ends_read_a_clock(repository: Path) -> None:
    assert clock_readers(repository / 'restac_ros') == []


def test_a_clock_is_found_however_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / 'runtime').mkdir()
    (tmp_path / 'runtime' / 'bad.py').write_text(
        'from time import monotonic_ns\nimport time, datetime\ntime.perf_counter_ns()\n'
        'datetime.datetime.now()\ndatetime.timedelta(1)\nself.time.now\n'
    )
    assert [line.split()[-1] for line in clock_readers(tmp_path)] == [
        'time.monotonic_ns',
        'time.perf_counter_ns',
        'datetime.datetime.now',
    ]


def borrowed_between_nodes(package: Path) -> list[str]:
    """Imports of one node's package by another's: what several need stands one level up."""
    found = []
    for file in sorted((package / 'nodes').glob('*/**/*.py')):
        own = file.relative_to(package / 'nodes').parts[0]
        for name in sorted(imports_of(file)):
            parts = name.split('.')
            if parts[:2] != ['restac_ros', 'nodes'] or len(parts) < 3 or parts[2] == own:
                continue
            if (package / 'nodes' / parts[2]).is_dir() and parts[2] not in MAY_BORROW.get(own, set()):
                found.append(f'{file.relative_to(package).as_posix()} imports {name}')
    return found


def test_no_node_imports_another_nodes_package(repository: Path) -> None:
    assert borrowed_between_nodes(repository / 'restac_ros') == []
