from setuptools import find_packages, setup

package_name = "twist_policy_node"

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
    description="The lifecycle node around a TWIST policy.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "policy_node = twist_policy_node.policy_node:main",
        ],
    },
)
