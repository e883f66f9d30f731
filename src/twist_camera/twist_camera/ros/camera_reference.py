"""The node ``camera_reference``: answers whether the camera stands where it stood.

Service ``~/check`` (std_srvs/Trigger); the trial runner calls it before an evaluation. Images are
received only while a check is under way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image as PngFile
from rclpy.node import Node
from std_srvs.srv import Trigger

from twist_camera.charuco_board import Image as Picture
from twist_camera.collecting import LabError
from twist_camera.limits import load_limits
from twist_camera.reference_view import (
    REFERENCE,
    ReferenceViewError,
    check_reference,
    load_reference,
)
from twist_camera.ros.frames import FrameCollector
from twist_camera.session import check_png_name
from twist_nodes.node_process import run_node
from twist_nodes.parameters import ParameterRow, declare_parameters
from twist_nodes.spinning import spinning

PARAMETERS = (
    ParameterRow("reference", str(REFERENCE), "PNG of the stored view"),
    ParameterRow("output", "", "PNG with both views; empty: reference_check.png beside the former"),
    ParameterRow("frames", 10, "live frames that are averaged", (1, 1000)),
    ParameterRow("timeout", 5.0, "s until they have come", (0.1, 600.0)),
    ParameterRow("limits", "", "file of limits; empty: limits.yaml of twist_camera"),
)


class CameraReference(Node):
    """See the module.

    Raises:
        ParameterError: a parameter is not usable.
        ReferenceViewError: there is no reference view.
        LimitsError: the limits cannot be read.
        SessionError: the output's name does not end in .png.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("camera_reference", **options)
        values = declare_parameters(self, PARAMETERS)
        self._path = Path(values["reference"])
        self._output = Path(values["output"] or self._path.parent / "reference_check.png")
        check_png_name(self._output)
        self._count, self._timeout = values["frames"], values["timeout"]
        limits = Path(values["limits"]) if values["limits"] else None
        self._limit = load_limits(limits).reference
        load_reference(self._path)  # a missing one is said at the start
        self._topic = self.resolve_topic_name("image_raw")
        self.create_service(Trigger, "~/check", self._on_check)

    def _on_check(self, _request: Any, response: Any) -> Any:
        try:
            result = check_reference(load_reference(self._path), self._frames(), self._limit)
            response.success, response.message = result.good, result.message
            self._output.parent.mkdir(parents=True, exist_ok=True)
            PngFile.fromarray(result.picture).save(self._output)
            response.message += f"; both views: {self._output}"
        except (LabError, ReferenceViewError, OSError) as error:
            response.success, response.message = False, str(error)
        log = self.get_logger()
        # Two places: rclpy refuses one call with changing severities.
        if response.success:
            log.info(response.message)
        else:
            log.error(response.message)
        return response

    def _frames(self) -> list[Picture]:
        """Fresh pictures, received beside this node, which has nothing else to do meanwhile.

        A node in the same context knows already who is there: finding the camera anew may take the
        middleware seconds.
        """
        node = Node(
            f"{self.get_name()}_frames",
            namespace=self.get_namespace(),
            context=self.context,
            use_global_arguments=False,  # a name that was given to this node is not for two
        )
        try:
            with spinning(node):
                return FrameCollector(node, self._topic).take(self._count, self._timeout)
        finally:
            node.destroy_node()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``camera_reference``."""
    return run_node("camera_reference", CameraReference, arguments)


if __name__ == "__main__":
    sys.exit(main())
