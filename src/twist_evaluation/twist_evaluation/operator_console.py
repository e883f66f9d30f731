"""``operator_console``: the terminal where a person answers the trial runner's questions.

    ros2 run twist_evaluation operator_console

Shows each question and sends what is typed. There is no default answer. Closing it (Ctrl-D) while
something is asked says that nobody will answer.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from twist_evaluation.operator_prompt import Question, read_lines
from twist_msgs.msg import OperatorQuestion
from twist_msgs.srv import AnswerQuestion
from twist_nodes.endpoints import LATCHED
from twist_nodes.parameters import ParameterError, ParameterRow, declare_parameters
from twist_nodes.spinning import spinning

PARAMETERS = (ParameterRow("trial_runner", "trial_runner", "name of the trial runner's node"),)

_END = object()
_CALL_TIMEOUT = 10.0  # seconds


class OperatorConsole(Node):
    """Shows questions; `answer` sends what was typed.

    Raises:
        ParameterError: a parameter is not usable.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("operator_console", **node_options)
        name = declare_parameters(self, PARAMETERS)["trial_runner"]
        self._question: OperatorQuestion | None = None
        self._client = self.create_client(AnswerQuestion, f"{name}/answer")
        self.create_subscription(OperatorQuestion, f"{name}/question", self._on_question, LATCHED)

    @property
    def asked(self) -> bool:
        """Whether something is being asked."""
        return self._question is not None

    def _on_question(self, message: OperatorQuestion) -> None:
        self._question = message if message.id else None
        if message.text:
            answers = dict(zip(message.keys, message.meanings, strict=True))
            for line in Question(message.text, answers, message.picture).lines():
                print(line, flush=True)

    def answer(self, key: str) -> None:
        """Sends an answer to the question that is shown; says why it was not accepted."""
        question = self._question
        if question is None:
            if key:
                print("nothing is being asked", flush=True)
            return
        replied = threading.Event()
        future = self._client.call_async(AnswerQuestion.Request(id=question.id, key=key))
        future.add_done_callback(lambda _: replied.set())
        if not replied.wait(_CALL_TIMEOUT):
            print("the trial runner does not answer; is it still running?", flush=True)
        elif not future.result().accepted:
            print(future.result().message, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``operator_console``."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = OperatorConsole()
    except ParameterError as error:
        print(f"operator_console: {error}", file=sys.stderr, flush=True)
        rclpy.try_shutdown()
        return 2
    typed: SimpleQueue[Any] = SimpleQueue()
    reading = (sys.stdin, typed, _END)
    threading.Thread(target=read_lines, args=reading, name="terminal", daemon=True).start()
    print("waiting for questions of the trial runner; Ctrl-D or Ctrl-C ends this console")
    try:
        with spinning(node):
            _answer_what_is_typed(node, typed)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _answer_what_is_typed(node: OperatorConsole, typed: SimpleQueue[Any]) -> None:
    """Until the end of what is typed, or Ctrl-C."""
    try:
        while rclpy.ok():
            with contextlib.suppress(Empty):
                line = typed.get(timeout=0.5)
                if line is _END:
                    break
                if line.strip():
                    node.answer(line.strip().lower())
    except KeyboardInterrupt:
        pass
    finally:
        if node.asked:
            node.answer("")


if __name__ == "__main__":
    sys.exit(main())
