from setuptools import find_packages, setup

package_name = "twist_evaluation"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package_name: ["py.typed", "templates/*.j2"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=[
        "setuptools",
        "numpy",
        "PyYAML",
        "mcap",
        "rosbags",
        "jinja2",
        "pillow",
        "av",
    ],
    python_requires=">=3.11",
    zip_safe=False,
    maintainer="TWIST maintainers",
    maintainer_email="maintainers@twist.example",
    description="Trials, one bag per trial, success observers, statistics and reports.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "recorder = twist_evaluation.recorder_node:main",
            "trial_runner = twist_evaluation.trial_runner_node:main",
            "operator_console = twist_evaluation.operator_console:main",
            "twist-colours = twist_evaluation.pick_colours:main",
            "twist-compare = twist_evaluation.comparison:main",
            "twist-report = twist_evaluation.report:main",
            "twist-recover = twist_evaluation.bag_recovery:main",
        ],
    },
)
