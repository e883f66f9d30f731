"""The trial runner: runs an evaluation through the ROS graph and ends.

Exit codes: 0 every trial was run to judgement; 1 it ended early or trials were aborted; 2 the
arguments are wrong; 130 a person interrupted it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from twist_evaluation import progress
from twist_evaluation.evaluation_setup import SetupError, evaluation_setup
from twist_evaluation.judge import GroundTruthJudge
from twist_evaluation.node_parameters import ParameterRow, declare_parameters
from twist_evaluation.results import EvaluationIdentity, ResultsError, ResultsFolder
from twist_evaluation.ros_stand import RosStand, StandNames, StandTimeouts
from twist_evaluation.trial_runner import EvaluationEnd, TrialRules, TrialRunner

PARAMETERS = (
    ParameterRow("task", "block_push", "task card name"),
    ParameterRow("trials", 5, "how many trials", (1, 100_000)),
    ParameterRow("seed", 0, "(task, seed, trial) determines each layout", (0, 2**63 - 1)),
    ParameterRow(
        "output", "", "folder of results and bags; empty: evaluations/<task>_seed<seed>_<time>"
    ),
    ParameterRow("resume", False, "continue the evaluation whose results are in output"),
    ParameterRow("record", True, "one bag per trial"),
    ParameterRow("checkpoint", "", "folder of the checkpoint the policy runs, for its identity"),
    ParameterRow(
        "episode_steps", 0, "policy steps per episode; 0: the checkpoint's contract", (0, 100_000)
    ),
    ParameterRow("policy_node", "twist_policy_node", "name of the policy node"),
    ParameterRow("recorder_node", "recorder", "name of the recorder node"),
    ParameterRow("reset_service", "robot_twin/reset", "service that prepares a trial"),
    ParameterRow("ground_truth_topic", "robot_twin/ground_truth", "true state, for the judge"),
    ParameterRow(
        "ground_truth_max_age", 0.5, "s: an older true state is no judgement", (0.01, 60.0)
    ),
    ParameterRow("ready_timeout", 60.0, "s until every node answers at the start", (0.1, 3600.0)),
    ParameterRow("service_timeout", 10.0, "s for ordinary service calls", (0.1, 3600.0)),
    ParameterRow("configure_timeout", 60.0, "s for loading and warming up", (0.1, 3600.0)),
    ParameterRow(
        "reset_timeout", 30.0, "s for the reset; longer where a person does it", (0.1, 1e5)
    ),
    ParameterRow("first_step_timeout", 5.0, "s from activation to the first step", (0.1, 600.0)),
    ParameterRow("step_timeout", 2.0, "s between two steps", (0.1, 600.0)),
    ParameterRow("settle_time", 0.2, "s between deactivation and judgement", (0.0, 60.0)),
    ParameterRow(
        "maximum_consecutive_aborts", 3, "aborted trials in a row that end it", (1, 100_000)
    ),
)

_TERMINATED = "told to stop (SIGTERM), as when another process of the graph has died"


def run_evaluation(node: Node) -> EvaluationEnd:
    """Runs what the parameters of `node` ask for; another thread must spin it meanwhile.

    Raises:
        SetupError: task or checkpoint are wrong.
        ResultsError: the output folder holds other results.
        rclpy.exceptions.ParameterException: a parameter is wrong.
    """
    values: dict[str, Any] = declare_parameters(node, PARAMETERS)
    checkpoint = Path(values["checkpoint"]).expanduser() if values["checkpoint"] else None
    setup = evaluation_setup(values["task"], checkpoint, values["episode_steps"] or None)
    identity = EvaluationIdentity(
        setup.task, values["seed"], values["trials"], setup.episode_steps, setup.checkpoint
    )
    output = Path(values["output"] or _default_output(identity)).expanduser().absolute()
    results = ResultsFolder(output, identity, resume=values["resume"])
    stand = RosStand(
        node,
        identity,
        StandNames(
            values["policy_node"],
            values["recorder_node"],
            values["reset_service"],
            values["ground_truth_topic"],
        ),
        StandTimeouts(
            values["ready_timeout"],
            values["service_timeout"],
            values["configure_timeout"],
            values["reset_timeout"],
        ),
        record=values["record"],
    )
    signal.signal(signal.SIGINT, lambda *_: stand.interrupt())
    signal.signal(signal.SIGTERM, lambda *_: stand.interrupt(_TERMINATED))
    judge = GroundTruthJudge(
        stand.ground_truth,
        stand.clock,
        maximum_age=values["ground_truth_max_age"],
        topic=values["ground_truth_topic"],
    )
    rules = TrialRules(
        record=values["record"],
        first_step_timeout=values["first_step_timeout"],
        step_timeout=values["step_timeout"],
        settle_time=values["settle_time"],
        maximum_consecutive_aborts=values["maximum_consecutive_aborts"],
        custom_data={**setup.custom_data, "environment": json.dumps(_environment())},
    )
    _say(progress.heading(identity, output, len(results.open_trials())))
    end = TrialRunner(stand, judge, results, rules, _say).run()
    _say(progress.closing(end.counts, end.reports, end.reason, output, values["record"]))
    return end


def _environment() -> dict[str, str]:
    return {
        "system": platform.platform(),
        "cores": str(os.cpu_count()),
        "Python": platform.python_version(),
        "ROS": os.environ.get("ROS_DISTRO", "jazzy (wheels)"),
        "middleware": rclpy.get_rmw_implementation_identifier(),
    }


def _default_output(identity: EvaluationIdentity) -> Path:
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("evaluations") / f"{identity.task}_seed{identity.seed}_{moment}"


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``trial_runner``."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("trial_runner")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinner = threading.Thread(target=_spin, args=(executor,), name="executor", daemon=True)
    spinner.start()
    try:
        end = run_evaluation(node)
    except (SetupError, ResultsError, ParameterException) as error:
        print(f"trial_runner: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        executor.shutdown()
        spinner.join(5.0)
        node.destroy_node()
        rclpy.try_shutdown()
    if end.interrupted:
        return 130
    return 0 if end.complete else 1


def _spin(executor: SingleThreadedExecutor) -> None:
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()


if __name__ == "__main__":
    sys.exit(main())
