"""The contract file: read strictly, refused in one message that tells the remedy."""

import string
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from restac_ros.contract.errors import ContractError
from restac_ros.contract.load import MAX_BYTES, dump_contract, load_contract, parse_contract
from restac_ros.contract.schema import STREAM_MODELS, Contract

SHIPPED = Path(__file__).resolve().parents[2] / 'config' / 'contract.yaml'
TEXT = SHIPPED.read_text(encoding='utf-8')
VALUES = yaml.safe_load(TEXT)


def edited(edit: Callable[[dict], object]) -> str:
    """YAML text of the shipped contract after `edit`, which changes the values in place."""
    values = yaml.safe_load(TEXT)
    edit(values)
    return yaml.safe_dump(values, sort_keys=False)


def assign(path: str, value: object) -> Callable[[dict], object]:
    def edit(values: dict) -> None:
        *parents, last = path.split('.')
        for key in parents:
            values = values[key]
        values[last] = value

    return edit


def remove(path: str) -> Callable[[dict], object]:
    def edit(values: dict) -> None:
        *parents, last = path.split('.')
        for key in parents:
            values = values[key]
        del values[last]

    return edit


def refusal(text: str) -> ContractError:
    with pytest.raises(ContractError) as caught:
        parse_contract(text, 'robot.yaml')
    return caught.value


def use_tool_pose(values: dict) -> None:
    """The tool's pose from a topic in place of joint positions."""
    del values['streams']['joints']
    values['streams']['tool'] = {
        'topic': '/franka_robot_state_broadcaster/current_pose',
        'type': 'geometry_msgs/msg/PoseStamped',
        'role': 'tool_pose',
        'frame_id': 'fr3_link0',
        'rate_hz': 1000,
        'max_age_ms': 50,
        'reliability': 'best_effort',
    }


# ------------------------------------------------------------------------------------------- what is accepted


def test_shipped_contract_describes_the_reference_robot():
    contract = load_contract(SHIPPED)
    assert contract.fps == 15
    assert contract.period_ns == 66_666_666
    slots = {name: camera.slot for name, camera in contract.by_role('camera').items()}
    assert slots == {'main': 'base_0_rgb', 'handeye': 'left_wrist_0_rgb', 'side': 'right_wrist_0_rgb'}
    assert contract.stream('gelsight_left').feature == 'observation.images.gelsight_left_rgb'
    assert (contract.pose_stream, contract.gripper_stream) == ('joints', 'gripper')
    assert contract.stream('joints').max_age_ns == 100_000_000


def test_every_key_of_the_file_is_explained_in_the_file():
    """The shipped file is the manual: each key a stream may have occurs in its comments or entries."""
    keys = {key for model in STREAM_MODELS.values() for key in model.model_fields}
    assert [key for key in keys if key not in TEXT] == []


def test_tool_pose_can_take_the_place_of_joints():
    contract = parse_contract(edited(use_tool_pose))
    assert contract.pose_stream == 'tool'
    assert contract.stream('tool').reliability == 'best_effort'


def test_a_measured_pose_needs_no_arm_of_ours():
    def edit(values: dict) -> None:
        use_tool_pose(values)
        del values['robot']['arm']

    assert parse_contract(edited(edit)).robot.arm is None


def share_topic(values: dict) -> None:
    """Arm and fingers on /joint_states."""
    for name in ('joints', 'gripper'):
        values['streams'][name]['topic'] = '/joint_states'


def test_joint_streams_may_share_a_topic():
    contract = parse_contract(edited(share_topic))
    assert contract.by_topic()['/joint_states'] == ('joints', 'gripper')
    assert contract.state_streams == ('joints', 'gripper')


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (
            'streams.gripper.joints',
            ['fr3_joint1'],
            'fr3_joint1, which stream joints reads from /joint_states',
        ),
        ('streams.gripper.reliability', 'best_effort', 'they are one subscription'),
    ],
)
def test_streams_on_one_topic_are_one_subscription_with_joints_of_their_own(path, value, message):
    def edit(values: dict) -> None:
        share_topic(values)
        values['gripper']['joint'] = {'unit': 'rad', 'closed': 0.0, 'open': 1.0}
        assign(path, value)(values)

    [problem] = refusal(edited(edit)).problems
    assert problem.path == path
    assert message in problem.message


def without_gripper(values: dict) -> None:
    del values['streams']['gripper']
    values['gripper'] = {'opening_m': [0.0, 0.0], 'absent': 'the plug is bolted to the flange'}


def test_a_robot_without_gripper_states_why_and_the_constant_in_its_place():
    contract = parse_contract(edited(without_gripper))
    assert contract.gripper_stream is None
    assert contract.state_streams == ('joints',)

    def varying(values: dict) -> None:
        without_gripper(values)
        values['gripper']['opening_m'] = [0.0, 0.08]

    [problem] = refusal(edited(varying)).problems
    assert problem.path == 'gripper.opening_m'
    assert 'expected one constant, twice' in problem.message


def test_dump_reads_back_to_an_equal_contract():
    for text in (TEXT, edited(use_tool_pose), edited(assign('rotation.convention', 'rotvec'))):
        contract = parse_contract(text)
        assert parse_contract(dump_contract(contract)) == contract


def test_digest_depends_on_values_only():
    contract = parse_contract(TEXT)
    shuffled = yaml.safe_dump(VALUES, sort_keys=True)
    assert parse_contract(shuffled).digest() == contract.digest()
    assert parse_contract(edited(assign('streams.main.latency_ms', 4))).digest() != contract.digest()
    assert len(contract.digest()) == 64


def test_differences_name_path_and_both_values():
    ours = parse_contract(TEXT)
    theirs = parse_contract(edited(lambda v: (assign('fps', 10)(v), remove('streams.side')(v))))
    assert ours.differences(ours) == []
    lines = ours.differences(theirs)
    assert 'fps: 15 != 10' in lines
    assert "streams.side.slot: 'right_wrist_0_rgb' != absent" in lines
    assert "streams.side.slot: absent != 'right_wrist_0_rgb'" in theirs.differences(ours)


def test_contract_is_immutable():
    contract = parse_contract(TEXT)
    with pytest.raises(ValidationError, match='frozen'):
        contract.fps = 30
    with pytest.raises(ValidationError, match='frozen'):
        contract.streams['main'].latency_ms = 1.0


def test_unknown_stream_and_role_are_answered_with_the_nearest_name():
    contract = parse_contract(TEXT)
    with pytest.raises(ContractError, match=r"unknown stream 'gelsight'; did you mean 'gelsight_left'\?"):
        contract.stream('gelsight')
    with pytest.raises(ContractError, match=r"unknown role 'cameras'; did you mean 'camera'\?"):
        contract.by_role('cameras')


# ------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ('edit', 'path', 'message'),
    [
        (assign('fps', '15'), 'fps', "found '15' (text); expected a valid integer"),
        (assign('fps', True), 'fps', 'found True'),
        (assign('fps', 0), 'fps', 'found 0; expected greater than or equal to 1'),
        (assign('fps', 15.5), 'fps', 'found 15.5'),
        (assign('schema_version', 2), 'schema_version', 'found 2; expected 1'),
        (
            assign('robot.arm', 'fr4'),
            'robot.arm',
            "found 'fr4' (text); did you mean 'fr3'? known: fr3, panda",
        ),
        (assign('robot.base_frame', ''), 'robot.base_frame', "found ''"),
        (assign('robot', None), 'robot', 'found None; expected a mapping of keys'),
        (remove('rotation'), 'rotation', 'missing'),
        (remove('streams.main.max_age_ms'), 'streams.main.max_age_ms', 'missing'),
        (remove('streams.main.role'), 'streams.main.role', 'missing; known: camera, tactile'),
        (assign('streams.main.role', 'camra'), 'streams.main.role', "did you mean 'camera'?"),
        (assign('streams.main.slot', 'base_0_rbg'), 'streams.main.slot', "did you mean 'base_0_rgb'?"),
        (assign('streams.main.encoding', 'rgb16'), 'streams.main.encoding', "did you mean 'rgb8'?"),
        (assign('streams.main.rate_hz', '3e1'), 'streams.main.rate_hz', 'as in 1.0e+3'),
        (assign('streams.main.rate_hz', float('nan')), 'streams.main.rate_hz', 'found nan'),
        (assign('streams.main.rate_hz', float('inf')), 'streams.main.rate_hz', 'found inf'),
        (assign('streams.main.rate_hz', -30), 'streams.main.rate_hz', 'found -30'),
        (assign('streams.main.latency_ms', -1), 'streams.main.latency_ms', 'found -1'),
        (
            assign('streams.main.topic', '~/image'),
            'streams.main.topic',
            'expected a ROS topic name, absolute',
        ),
        (assign('streams.main.topic', 'main//image'), 'streams.main.topic', 'expected a ROS topic name'),
        (assign('streams.main.topic', '/main image'), 'streams.main.topic', 'expected a ROS topic name'),
        (assign('streams.main.feature', 'main'), 'streams.main.feature', 'expected a LeRobot image key'),
        (
            assign('streams.main.type', 'sensor_msgs/Image'),
            'streams.main.type',
            "did you mean 'sensor_msgs/msg/Image'?",
        ),
        (assign('streams.main.requird', False), 'streams.main.requird', "did you mean 'required'?"),
        (assign('streams.joints.slot', 'base_0_rgb'), 'streams.joints.slot', 'unknown key'),
        (assign('streams.Main', VALUES['streams']['main']), 'streams.Main', 'lower-case'),
        (assign('streams.main', []), 'streams.main', 'found []; expected a mapping of keys'),
        (assign('limits.workspace_m.mx', 1), 'limits.workspace_m.mx', "did you mean 'max'?"),
        (assign('rotation.branch_centre_rad', [0.0, 0.0]), 'rotation.branch_centre_rad.2', 'missing'),
        (assign('rotation.branch_centre_rad', [0.0] * 4), 'rotation.branch_centre_rad', 'at most 3'),
        (assign('rotation.convention', 'euler'), 'rotation.convention', 'known: rpy, rotvec'),
        (assign('streems', {}), 'streems', "did you mean 'streams'?"),
    ],
)
def test_a_single_fault_is_named(edit, path, message):
    error = refusal(edited(edit))
    assert [problem.path for problem in error.problems] == [path]
    assert message in error.problems[0].message
    assert str(error).startswith('robot.yaml: ')


@pytest.mark.parametrize(
    ('edit', 'path', 'message'),
    [
        (assign('gripper.opening_m', [0.08, 0.0]), 'gripper.opening_m', '0 <= closed < open'),
        (assign('limits.workspace_m.min', [0.2, 0.6, 0.0]), 'limits.workspace_m', 'found y from 0.6 to 0.5'),
        (
            assign('rotation.branch_centre_rad', [180.0, 0.0, 0.0]),
            'rotation.branch_centre_rad',
            'expected at most 6.28319 rad: is this in degrees?',
        ),
        (assign('fps', 20), 'streams.gelsight_left.rate_hz', 'found 18, below fps 20'),
        (assign('streams.main.max_age_ms', 30), 'streams.main.max_age_ms', 'expected at least 33.4'),
        (assign('streams.gripper.rate_hz', 0.033), 'streams.gripper.max_age_ms', 'expected at least 30303.1'),
        (assign('streams.main.latency_ms', 130), 'streams.main.max_age_ms', 'expected at least 163.4'),
        (assign('streams.joints.joints', ['a'] * 7), 'streams.joints.joints', 'expected different'),
        (assign('streams.joints.joints', ['a', 'b']), 'streams.joints.joints', 'found 2 names; expected 7'),
        (
            assign('streams.gripper.joints', [f'{side}_finger_joint1' for side in 'abc']),
            'streams.gripper.joints',
            'expected 1 or 2',
        ),
        (assign('limits.speed_m_s', 25.0), 'limits.speed_m_s', 'at most 3 m/s: is this in mm/s?'),
        (assign('limits.speed_rad_s', 57.0), 'limits.speed_rad_s', 'at most 10 rad/s: is this in degrees/s?'),
        (assign('limits.workspace_m.max', [800, 500, 800]), 'limits.workspace_m.max', 'is this in mm?'),
        (assign('gripper.opening_m', [0, 80]), 'gripper.opening_m', 'found 80 m; expected at most 0.3 m'),
        (
            assign('robot.pose_tool_in_hand.xyz_m', [0.0, 0.0, 103.4]),
            'robot.pose_tool_in_hand.xyz_m',
            'found 103.4 m; expected at most 1 m: is this in mm?',
        ),
        (
            assign('robot.pose_tool_in_hand.rpy_rad', [0.0, 0.0, 45.0]),
            'robot.pose_tool_in_hand.rpy_rad',
            'is this in degrees?',
        ),
        (remove('robot.arm'), 'robot.arm', 'stream joints (arm_joints) needs its forward kinematics'),
        (
            assign('streams.gripper.joints', ['robotiq_85_left_knuckle_joint']),
            'streams.gripper.joints',
            'its unit is not known; set gripper.joint',
        ),
        (
            assign('gripper.joint', {'unit': 'rad', 'closed': 45.0, 'open': 0.0}),
            'gripper.joint.closed',
            'is it in another unit?',
        ),
        (
            assign('gripper.joint', {'unit': 'rad', 'closed': 0.0, 'open': 0.0}),
            'gripper.joint',
            'expected different positions',
        ),
        (assign('gripper.absent', 'bolted'), 'gripper.absent', 'stream gripper has role gripper'),
        (assign('streams.joints.required', False), 'streams.joints.required', 'expected true'),
        (assign('streams.gripper.required', False), 'streams.gripper.required', 'expected true'),
        (assign('streams.side.slot', 'base_0_rgb'), 'streams.side.slot', 'which stream main has already'),
        (
            assign('streams.side.topic', '/cameras/main/color/image_raw'),
            'streams.side.topic',
            'which stream main has already: only streams of joint positions can share a topic',
        ),
        (
            assign('streams.gelsight_left.feature', 'observation.images.main_realsense_rgb'),
            'streams.gelsight_left.feature',
            'which stream main has already',
        ),
        (assign('streams.main.encoding', 'jpeg'), 'streams.main.encoding', 'a raw encoding such as rgb8'),
        (assign('streams.main.encoding', '8UC3'), 'streams.main.channel_order', "expected 'rgb' or 'bgr'"),
        (assign('streams.main.channel_order', 'bgr'), 'streams.main.channel_order', "but encoding is 'rgb8'"),
        (assign('action.source', 'target_pose'), 'action.source', 'no stream has that role'),
        (remove('streams.gripper'), 'streams', 'no stream has role gripper; expected exactly one'),
        (remove('streams.joints'), 'streams', 'no stream has role arm_joints or tool_pose'),
    ],
)
def test_entries_that_disagree_are_named(edit, path, message):
    error = refusal(edited(edit))
    assert [problem.path for problem in error.problems] == [path]
    assert message in str(error)


def test_exactly_one_source_of_the_tool_pose():
    def both(values: dict) -> None:
        joints = values['streams']['joints']
        use_tool_pose(values)
        values['streams']['joints'] = joints

    assert 'streams joints, tool have role arm_joints or tool_pose' in str(refusal(edited(both)))


def test_tool_offset_is_refused_where_it_would_be_ignored():
    def edit(values: dict) -> None:
        use_tool_pose(values)
        values['robot']['pose_tool_in_hand']['xyz_m'] = [0.0, 0.0, 0.02]

    [problem] = refusal(edited(edit)).problems
    assert problem.path == 'robot.pose_tool_in_hand'
    assert 'stream tool (tool_pose) already is the pose of robot.tool_frame' in problem.message


def test_compressed_images_take_file_formats_only():
    def compressed(encoding: str) -> str:
        def edit(values: dict) -> None:
            values['streams']['main'] |= {'type': 'sensor_msgs/msg/CompressedImage', 'encoding': encoding}

        return edited(edit)

    assert parse_contract(compressed('jpeg')).stream('main').encoding == 'jpeg'
    assert 'expected jpeg or png' in str(refusal(compressed('rgb8')))


def test_all_faults_are_reported_at_once_with_their_lines():
    text = TEXT.replace('fps: 15', 'fps: "15"').replace('role: tactile', 'role: tactil')
    text = text.replace('speed_m_s:', 'sped_m_s:')
    error = refusal(text)
    lines = text.splitlines()
    places = {problem.path: lines[problem.line - 1].strip() for problem in error.problems}
    assert places['fps'] == 'fps: "15"'
    assert places['streams.gelsight_left.role'] == 'role: tactil'
    assert places['limits.sped_m_s'].startswith('sped_m_s:')
    assert places['limits.speed_m_s'].startswith('limits:')
    assert str(error).startswith('robot.yaml: 4 problems\n')


def test_repeated_keys_are_refused_with_both_lines():
    text = TEXT.replace('fps: 15', 'fps: 15\nfps: 30').replace(
        'role: tactile', 'role: tactile\n    role: camera'
    )
    error = refusal(text)
    assert [problem.path for problem in error.problems] == ['fps', 'streams.gelsight_left.role']
    assert 'repeated; first given on line' in str(error)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'expected a mapping of keys'),
        ('- fps', 'expected a mapping of keys'),
        ('fps: [', 'not valid YAML'),
        ('a: &x [1]\nb: *x', 'aliases are not read'),
        ('a: ' + '[' * 200, 'nested deeper than'),
        ('a: !!python/object/apply:os.system [true]', 'not valid YAML'),
        ('? [1, 2]\n: 3', 'not valid YAML'),
        ('a: 1\n---\na: 2', 'not valid YAML'),
        ('a: \x07', 'not valid YAML'),
        ('#' * (MAX_BYTES + 1), f'at most {MAX_BYTES}'),
    ],
    ids=['empty', 'list', 'broken', 'alias', 'deep', 'tag', 'key', 'documents', 'control', 'large'],
)
def test_text_that_is_no_plain_yaml_mapping(text, message):
    assert message in str(refusal(text))


def test_file_faults_name_the_file(tmp_path):
    (tmp_path / 'contract.yaml').write_text(TEXT)
    with pytest.raises(
        ContractError, match=r'contrct\.yaml: no such file; YAML files beside it: .*contract\.yaml'
    ):
        load_contract(tmp_path / 'contrct.yaml')
    with pytest.raises(ContractError, match='found a directory, expected a YAML file'):
        load_contract(tmp_path)
    (tmp_path / 'latin.yaml').write_bytes('name: Käse'.encode('latin-1'))
    with pytest.raises(ContractError, match=r'latin\.yaml: not UTF-8'):
        load_contract(tmp_path / 'latin.yaml')
    (tmp_path / 'large.yaml').write_text('#' * (MAX_BYTES + 1))
    with pytest.raises(ContractError, match=r'large\.yaml: \d+ bytes'):
        load_contract(tmp_path / 'large.yaml')


def test_direct_construction_is_checked_as_well():
    values = parse_contract(TEXT).model_dump()
    values['gripper']['opening_m'] = (0.1, 0.0)
    with pytest.raises(ValidationError, match='0 <= closed < open'):
        Contract(**values)


# ----------------------------------------------------------------------------------------------- properties


def paths_of(values: dict, prefix: str = '') -> list[str]:
    paths = []
    for key, value in values.items():
        paths.append(f'{prefix}{key}')
        if isinstance(value, dict):
            paths += paths_of(value, f'{prefix}{key}.')
    return paths


# A stream's name is free: any is right.
KEYS = [path for path in paths_of(VALUES) if path.count('.') != 1 or not path.startswith('streams.')]


@settings(max_examples=40, deadline=None)
@given(path=st.sampled_from(KEYS), letter=st.sampled_from(string.ascii_lowercase), where=st.integers(0, 20))
def test_any_misspelt_key_is_named_and_corrected(path, letter, where):
    parent, _, key = path.rpartition('.')
    place = where % (len(key) + 1)
    misspelt = key[:place] + letter + key[place:]

    def edit(values: dict) -> None:
        for step in filter(None, parent.split('.')):
            values = values[step]
        values[misspelt] = values.pop(key)

    error = refusal(edited(edit))
    named = f'{parent}.{misspelt}' if parent else misspelt
    if key == 'role':  # without its role, a stream's other keys cannot be judged
        named = path
    [problem] = [problem for problem in error.problems if problem.path == named]
    assert ('missing' if key == 'role' else repr(key)) in problem.message


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode('latin-1')))
def test_no_text_raises_anything_but_a_contract_error(text):
    with pytest.raises(ContractError):
        parse_contract(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(paths_of(VALUES)), value=JSON)
def test_any_value_anywhere_is_read_or_refused(path, value):
    text = edited(assign(path, value))
    try:
        contract = parse_contract(text)
    except ContractError:
        return
    assert parse_contract(dump_contract(contract)) == contract
