"""The two executables as processes: how they start and how they end."""

import contextlib
import os
import signal
import subprocess
import sys
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("twist_msgs")

MODULES = {"twin": "twist_sim.ros.robot_twin", "servo": "twist_sim.ros.servo_stand_in"}


@contextlib.contextmanager
def process(name, *parameters):
    arguments = [part for parameter in parameters for part in ("-p", parameter)]
    command = [sys.executable, "-m", MODULES[name], "--ros-args", *arguments]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["twin", "servo"])
def test_a_process_ends_cleanly_when_told_to(ros_domain_id, name, number):
    with process(name) as child:
        for line in child.stdout:
            if "ready" in line:
                break
        child.send_signal(number)
        rest = child.stdout.read()
        assert child.wait(timeout=20) == 0
    assert "Traceback" not in rest, rest
    assert "Error" not in rest, rest


def test_servo_gives_up_without_a_robot(ros_domain_id):
    with process("servo", "joint_state_timeout:=0.3") as child:
        output = child.stdout.read()
        assert child.wait(timeout=20) == 1
    assert "no valid joint state for 0.3 s on /joint_states" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("name", "parameter", "complaint"),
    [
        ("twin", "task:=knit_a_jumper", "known tasks: "),
        ("twin", "appearance:=neon", "held_out, train, nominal"),
        ("twin", "camera_rate:=fast", "camera_rate"),
        ("servo", "task:=knit_a_jumper", "known tasks: "),
        ("servo", "moveit_servo.publish_period:=-1.0", "moveit_servo.publish_period"),
    ],
)
def test_a_wrong_parameter_ends_the_start_with_one_clear_message(
    ros_domain_id, name, parameter, complaint
):
    with process(name, parameter) as child:
        output = child.stdout.read()
        assert child.wait(timeout=20) == 1
    assert complaint in output
    assert "Traceback" not in output


def test_the_users_own_fast_dds_profile_is_kept(monkeypatch):
    from twist_sim.ros.shared_memory import enlarge_shared_memory

    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/home/me/mine.xml")
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    enlarge_shared_memory()
    assert os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/home/me/mine.xml"
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in os.environ


def test_the_shared_memory_for_images_holds_several_of_them(monkeypatch):
    from twist_sim.ros.shared_memory import enlarge_shared_memory

    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.setenv(name, "")
    enlarge_shared_memory()
    profile = ElementTree.parse(os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"])
    size = profile.find(".//{*}segment_size")
    assert size is not None
    assert int(size.text) > 4 * 640 * 480 * 3
