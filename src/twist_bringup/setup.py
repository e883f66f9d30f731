from glob import glob

from setuptools import find_packages, setup

package_name = "twist_bringup"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
        (f"share/{package_name}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{package_name}/config", sorted(glob("config/*.*"))),
        (f"share/{package_name}/config/robots", sorted(glob("config/robots/*.yaml"))),
    ],
    install_requires=["setuptools", "PyYAML"],
    python_requires=">=3.11",
    zip_safe=False,
    maintainer="TWIST maintainers",
    maintainer_email="maintainers@twist.example",
    description="The TWIST graph described once, launch files over it, and its runner.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "mock_camera = twist_bringup.mock_camera:main",
            "run_stack = twist_bringup.run_stack:main",
        ],
    },
)
