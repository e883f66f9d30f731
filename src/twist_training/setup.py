from setuptools import find_packages, setup

package_name = "twist_training"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package_name: ["py.typed", "sweep/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=[
        "setuptools",
        "matplotlib",
        "mujoco",
        "numpy",
        "PyYAML",
        "tensorboard",
        "torch",
        "tqdm",
    ],
    python_requires=">=3.11",
    zip_safe=False,
    maintainer="TWIST maintainers",
    maintainer_email="maintainers@twist.example",
    description="Trains, distils, evaluates and exports TWIST policies. No ROS.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "twist-train = twist_training.cli:main",
        ],
    },
)
