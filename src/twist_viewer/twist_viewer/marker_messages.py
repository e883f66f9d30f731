"""Shapes as visualization_msgs and nav_msgs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from twist_viewer.shapes import FloatArray, Kind, Shape

_TYPES = {
    Kind.SEGMENTS: Marker.LINE_LIST,
    Kind.PATH: Marker.LINE_STRIP,
    Kind.SPHERE: Marker.SPHERE,
    Kind.TEXT: Marker.TEXT_VIEW_FACING,
}


def marker_array(
    shapes: Sequence[Shape], gone: Iterable[str], frame_id: str, stamp: Time
) -> MarkerArray:
    """One marker per shape, and a deletion per name that is not shown any more.

    Args:
        shapes: metres, in `frame_id`.
        gone: names of shapes shown before.
        frame_id: base frame.
        stamp: of all markers.
    """
    array = MarkerArray()
    for shape in shapes:
        array.markers.append(_marker(shape, frame_id, stamp))
    for name in gone:
        marker = Marker(ns=name, action=Marker.DELETE)
        marker.header.frame_id, marker.header.stamp = frame_id, stamp
        array.markers.append(marker)
    return array


def _marker(shape: Shape, frame_id: str, stamp: Time) -> Marker:
    marker = Marker(ns=shape.name, type=_TYPES[shape.kind], action=Marker.ADD, text=shape.text)
    marker.header.frame_id, marker.header.stamp = frame_id, stamp
    red, green, blue, alpha = shape.colour
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
    marker.pose.orientation.w = 1.0
    scale = marker.scale
    if shape.kind is Kind.SPHERE:
        scale.x = scale.y = scale.z = shape.size
    elif shape.kind is Kind.TEXT:
        scale.z = shape.size
    else:
        scale.x = shape.size
    if shape.kind in (Kind.SPHERE, Kind.TEXT):
        p = marker.pose.position
        p.x, p.y, p.z = shape.points[0].tolist()
    else:
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in shape.points.tolist()]
    return marker


def path_message(points: FloatArray, frame_id: str, stamp: Time) -> Path:
    """A path through (N, 3) points, metres."""
    path = Path()
    path.header.frame_id, path.header.stamp = frame_id, stamp
    for x, y, z in points.tolist():
        pose = PoseStamped()
        pose.header = path.header
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = x, y, z
        pose.pose.orientation.w = 1.0
        path.poses.append(pose)
    return path
