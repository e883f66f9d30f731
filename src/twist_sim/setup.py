from setuptools import find_packages, setup

package_name = "twist_sim"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package_name: ["py.typed", "tasks/*.yaml", "ros/*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools", "numpy", "mujoco", "gymnasium", "PyYAML", "example-robot-data"],
    python_requires=">=3.11",
    zip_safe=False,
    maintainer="TWIST maintainers",
    maintainer_email="maintainers@twist.example",
    description="Task cards, the MuJoCo scene, randomised looks, environments and the robot twin.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "robot_twin = twist_sim.ros.robot_twin:main",
            "servo_stand_in = twist_sim.ros.servo_stand_in:main",
        ],
    },
)
