from setuptools import find_packages, setup

package_name = "twist_nodes"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    python_requires=">=3.11",
    zip_safe=False,
    maintainer="TWIST maintainers",
    maintainer_email="maintainers@twist.example",
    description="What the rclpy nodes of this workspace have in common.",
    license="Apache-2.0",
)
