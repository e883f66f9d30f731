from setuptools import find_packages, setup

package_name = "twist_robot"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools", "numpy"],
    python_requires=">=3.11",
    zip_safe=False,
    maintainer="TWIST maintainers",
    maintainer_email="maintainers@twist.example",
    description="The lab's arm: one robot state for both Franka drivers, error recovery, motions.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "arm_motion = twist_robot.motion.arm_motion_node:main",
            "robot_state = twist_robot.robot_state_node:main",
        ],
    },
)
