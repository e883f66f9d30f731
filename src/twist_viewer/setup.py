from setuptools import find_packages, setup

package_name = "twist_viewer"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools", "numpy", "pillow"],
    python_requires=">=3.11",
    zip_safe=False,
    maintainer="TWIST maintainers",
    maintainer_email="maintainers@twist.example",
    description="Markers for RViz and Foxglove, and the same drawn over the camera's image.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "viewer = twist_viewer.viewer_node:main",
        ],
    },
)
