"""The trial runner: runs an evaluation through the ROS graph and ends.

Exit codes: 0 every trial was run to judgement; 1 it ended early or trials were aborted; 2 the
arguments are wrong; 130 a person interrupted it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from twist_evaluation import progress
from twist_evaluation.campaign import Stage, parse_seeds, plan_campaign
from twist_evaluation.evaluation_setup import SetupError, evaluation_setup
from twist_evaluation.judging import JUDGES, Judging, JudgingOptions
from twist_evaluation.results import ResultsError
from twist_evaluation.ros_stand import RosStand, StandNames, StandTimeouts
from twist_evaluation.trial_runner import EvaluationEnd, TrialRules, TrialRunner
from twist_evaluation.trial_stand import Interrupted, StandLost
from twist_nodes.end_signals import on_end
from twist_nodes.parameters import ParameterError, ParameterRow, declare_parameters
from twist_nodes.spinning import Spinning, spinning

PARAMETERS = (
    ParameterRow("task", "block_push", "task card name"),
    ParameterRow("trials", 5, "how many trials", (1, 100_000)),
    ParameterRow("seed", 0, "(task, seed, trial) determines each layout", (0, 2**63 - 1)),
    ParameterRow("seeds", "", "several seeds, e.g. 1,2,3, each with `trials`; empty: `seed`"),
    ParameterRow(
        "output", "", "folder of results and bags; empty: evaluations/<task>_seed<seed>_<time>"
    ),
    ParameterRow("resume", False, "continue the evaluation whose results are in output"),
    ParameterRow("record", True, "one bag per trial"),
    ParameterRow("checkpoint", "", "folder of the checkpoint the policy runs, for its identity"),
    ParameterRow(
        "compare_with", "", "folder of a second checkpoint: both are run on each layout, blindly"
    ),
    ParameterRow(
        "shuffle_seed", -1, "makes the order of a comparison repeatable; -1: random", (-1, 2**31)
    ),
    ParameterRow(
        "conditions", "", "robot, speed and so on, name=value each: trials of others do not mix"
    ),
    ParameterRow("judge", "truth", f"who judges: {', '.join(JUDGES)}"),
    ParameterRow("place", False, "have a person put the objects in place, checked by the camera"),
    ParameterRow("camera_file", "", "calibration for the judge; empty: the contract's camera"),
    ParameterRow("colours", "", "file of `twist-colours`; empty: the task card's colours"),
    ParameterRow("image_topic", "camera/camera/color/image_raw", "pictures for the judge"),
    ParameterRow("home_service", "", "std_srvs/Trigger that takes the arm out of the judge's view"),
    ParameterRow(
        "console_timeout", 60.0, "s to wait for an operator's console before giving up", (0.0, 1e5)
    ),
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
    ParameterRow(
        "reference_service",
        "",
        "Trigger that compares the camera's view with the stored one at the start; empty: none",
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

_REASONS = {
    signal.SIGINT: "interrupted by a person",
    signal.SIGTERM: "told to stop (SIGTERM), as when another process of the graph has died",
    signal.SIGHUP: "the terminal is gone (SIGHUP)",
}


def run_evaluation(node: Node, spun: Spinning) -> EvaluationEnd:
    """Runs what the parameters of `node` ask for.

    Args:
        node: of the evaluation.
        spun: the same, spun by another thread.

    Raises:
        SetupError: task or checkpoint are wrong.
        ResultsError: the output folder holds other results.
        ParameterError: a parameter is wrong.
    """
    values: dict[str, Any] = declare_parameters(node, PARAMETERS)
    checkpoint = Path(values["checkpoint"]).expanduser() if values["checkpoint"] else None
    setup = evaluation_setup(values["task"], checkpoint, values["episode_steps"] or None)
    seeds = parse_seeds(values["seeds"], values["seed"])
    if values["resume"] and not values["output"]:
        raise SetupError("resume:=true needs output:=<folder of the evaluation to go on with>")
    output = Path(values["output"] or _default_output(setup.task, seeds)).expanduser().absolute()
    campaign = plan_campaign(
        output,
        setup,
        seeds,
        values["trials"],
        resume=values["resume"],
        compare=_compared(checkpoint, values["compare_with"]),
        shuffle_seed=values["shuffle_seed"] if values["shuffle_seed"] >= 0 else None,
        conditions=values["conditions"],
    )
    stand = RosStand(
        node,
        campaign.stages[0].identity,
        StandNames(
            values["policy_node"],
            values["recorder_node"],
            values["reset_service"],
            values["ground_truth_topic"],
            values["home_service"],
        ),
        StandTimeouts(
            values["ready_timeout"],
            values["service_timeout"],
            values["configure_timeout"],
            values["reset_timeout"],
        ),
        record=values["record"],
    )

    def interrupt(number: int, _: object) -> None:
        error = spun.error
        failed = f"a callback of this node failed: {type(error).__name__}: {error}"
        stand.interrupt(_REASONS[signal.Signals(number)] if error is None else failed)

    on_end(interrupt)
    names = [field.name for field in dataclasses.fields(JudgingOptions)]
    judging = Judging(node, stand, setup, JudgingOptions(**{name: values[name] for name in names}))
    rules = TrialRules(
        record=values["record"],
        first_step_timeout=values["first_step_timeout"],
        step_timeout=values["step_timeout"],
        settle_time=values["settle_time"],
        maximum_consecutive_aborts=values["maximum_consecutive_aborts"],
        custom_data={**setup.custom_data, "environment": json.dumps(_environment())},
    )

    if values["reference_service"]:
        try:
            _say(stand.check_camera(values["reference_service"]))
        except StandLost as error:
            raise SetupError(str(error)) from None
        except Interrupted:
            raise KeyboardInterrupt from None

    def run_stage(stage: Stage) -> EvaluationEnd:
        stand.begin(stage.identity)
        judging.begin(stage.results)
        todo = len(stage.results.open_trials())
        _say(progress.heading(stage.identity, stage.results.folder, todo))
        runner = TrialRunner(stand, judging.judge, stage.results, rules, _say, stage.plan)
        end = runner.run()
        if len(campaign.stages) > 1:
            _say(f"\nseed {stage.identity.seed}: {progress.success(end.counts)}\n")
        return end

    end = campaign.run(run_stage)
    folders = [stage.results.folder for stage in campaign.stages]
    _say(progress.closing(end.counts, end.reports, end.reason, output, values["record"], folders))
    if campaign.sealed is not None:
        _say(f"which checkpoint did better: twist-compare {output}")
    return end


def _compared(checkpoint: Path | None, other: str) -> tuple[Path, Path] | None:
    if not other:
        return None
    if checkpoint is None:
        raise SetupError("compare_with needs checkpoint as well: two folders are compared")
    return checkpoint, Path(other).expanduser()


def _environment() -> dict[str, str]:
    return {
        "system": platform.platform(),
        "cores": str(os.cpu_count()),
        "Python": platform.python_version(),
        "ROS": os.environ.get("ROS_DISTRO", "jazzy (wheels)"),
        "middleware": rclpy.get_rmw_implementation_identifier(),
    }


def _default_output(task: str, seeds: Sequence[int]) -> Path:
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("evaluations") / f"{task}_seed{'_'.join(map(str, seeds))}_{moment}"


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``trial_runner``."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("trial_runner")
    try:
        with spinning(node) as spun:
            end = run_evaluation(node, spun)
    except (SetupError, ResultsError, ParameterError) as error:
        print(f"trial_runner: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    if end.interrupted:
        return 130
    return 0 if end.complete else 1


if __name__ == "__main__":
    sys.exit(main())
