"""Tells the graph about trials: ``~/trial``, ``~/result`` and ``~/summary``, all latched."""

from __future__ import annotations

from rclpy.node import Node

from twist_evaluation.results import EvaluationIdentity, Outcome, Tally, TrialReport
from twist_evaluation.trial_stand import ObjectLayout
from twist_msgs.msg import EvaluationSummary, Layout, Trial, TrialResult
from twist_nodes.endpoints import LATCHED, advertise

_OUTCOMES = {
    Outcome.SUCCESS: TrialResult.SUCCESS,
    Outcome.FAILURE: TrialResult.FAILURE,
    Outcome.ABORTED: TrialResult.ABORTED,
    Outcome.NOT_JUDGED: TrialResult.NOT_JUDGED,
}


class TrialPublisher:
    """Publishes on three topics below the node's name."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._trial_publisher = advertise(node, Trial, "~/trial", LATCHED)
        self._result_publisher = advertise(node, TrialResult, "~/result", LATCHED)
        self._summary_publisher = advertise(node, EvaluationSummary, "~/summary", LATCHED)

    def announce(self, identity: EvaluationIdentity, trial: int, layout: ObjectLayout) -> None:
        """Publishes ``~/trial``."""
        message = Trial(
            task=identity.task,
            trial=trial,
            trials=identity.trials,
            seed=identity.seed,
            steps=identity.episode_steps,
            checkpoint=identity.checkpoint,
            layout=Layout(
                object_position=list(layout.object_position),
                object_yaw=layout.object_yaw,
                goal_position=list(layout.goal_position),
            ),
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._trial_publisher.publish(message)

    def result(self, identity: EvaluationIdentity, report: TrialReport) -> None:
        """Publishes ``~/result``."""
        message = TrialResult(
            task=identity.task,
            trial=report.trial,
            seed=identity.seed,
            outcome=_OUTCOMES[report.outcome],
            reason=report.reason,
            final_distance=report.final_distance,
            steps=report.steps,
            duration=report.duration,
            mean_surprise=report.mean_surprise,
            p99_latency=report.p99_latency,
            judge=report.judge,
            bag=report.bag,
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._result_publisher.publish(message)

    def summary(self, identity: EvaluationIdentity, counts: Tally, finished: bool) -> None:
        """Publishes ``~/summary``."""
        rate = counts.rate
        message = EvaluationSummary(
            task=identity.task,
            seed=identity.seed,
            trials=counts.planned,
            successes=counts.successes,
            failures=counts.failures,
            aborted=counts.aborted,
            not_judged=counts.not_judged,
            success_rate=rate.estimate,
            interval_low=rate.low,
            interval_high=rate.high,
            finished=finished,
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._summary_publisher.publish(message)
