from setuptools import find_packages, setup

package_name = "twist_camera"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package_name: ["py.typed", "limits.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools", "numpy", "scipy", "PyYAML", "pillow", "matplotlib"],
    python_requires=">=3.11",
    zip_safe=False,
    maintainer="TWIST maintainers",
    maintainer_email="maintainers@twist.example",
    description="Camera drivers, their settings checked, calibration, and the reference view.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "camera_check = twist_camera.ros.camera_check:main",
            "camera_reference = twist_camera.ros.camera_reference:main",
            "pyrealsense_camera = twist_camera.ros.pyrealsense_camera:main",
            "twist-calibrate = twist_camera.calibrate:main",
            "twist-camera-reference = twist_camera.reference:main",
        ],
    },
)
