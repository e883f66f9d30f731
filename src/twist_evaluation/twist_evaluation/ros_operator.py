"""Asks a person through the graph: questions on ``~/question``, answers on ``~/answer``."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from rclpy.node import Node

from twist_evaluation.operator_prompt import NoAnswer, Question
from twist_msgs.msg import OperatorQuestion
from twist_msgs.srv import AnswerQuestion
from twist_nodes.endpoints import LATCHED, advertise


class RosOperator:
    """Implements `twist_evaluation.operator_prompt.Operator` for `operator_console`.

    Args:
        node: to create topic and service on; another thread must spin it.
        wait: returns the next item of a queue, or None after a timeout.
        console_timeout: seconds to wait for a console before giving up on an answer.
        say: prints a line.
    """

    def __init__(
        self,
        node: Node,
        wait: Callable[[SimpleQueue[Any], float], Any],
        console_timeout: float,
        say: Callable[[str], None] = print,
    ) -> None:
        self._node = node
        self._wait = wait
        self._console_timeout = console_timeout
        self._say = say
        self._asked = 0
        self._open: tuple[int, Question] | None = None
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._publisher = advertise(node, OperatorQuestion, "~/question", LATCHED)
        node.create_service(AnswerQuestion, "~/answer", self._on_answer)

    def tell(self, text: str) -> None:
        """Prints among the evaluation's lines, and shows it in the console."""
        self._say(text)
        self._publisher.publish(self._message(0, Question(text, {})))

    def ask(self, question: Question) -> str | NoAnswer:
        """Publishes the question and waits for the answer as long as a console is there."""
        self._asked += 1
        self._open = (self._asked, question)
        try:
            self._publisher.publish(self._message(self._asked, question))
            for line in question.lines():
                self._say(line)
            last_seen, hinted = time.monotonic(), False
            while True:
                answer = self._wait(self._answers, 0.5)
                if answer is not None:
                    number, key = answer
                    if number == self._asked:
                        return key or NoAnswer("the operator's console was closed")
                if self._publisher.get_subscription_count():
                    last_seen = time.monotonic()
                elif not hinted:
                    hinted = True
                    self._say(
                        "answer in another terminal: ros2 run twist_evaluation operator_console"
                    )
                if time.monotonic() - last_seen > self._console_timeout:
                    return NoAnswer(
                        f"no console to answer in for {self._console_timeout:g} s; start `ros2 "
                        "run twist_evaluation operator_console` beside the evaluation"
                    )
        finally:
            self._open = None
            self._publisher.publish(self._message(0, Question("", {})))

    def _on_answer(
        self, request: AnswerQuestion.Request, response: AnswerQuestion.Response
    ) -> AnswerQuestion.Response:
        asked = self._open
        if asked is None or request.id != asked[0]:
            response.message = "this question is not asked any more"
        elif request.key and request.key not in asked[1].answers:
            response.message = f"{request.key!r} is none of {', '.join(asked[1].answers)}"
        else:
            response.accepted = True
            self._answers.put((int(request.id), str(request.key)))
        return response

    def _message(self, number: int, question: Question) -> OperatorQuestion:
        message = OperatorQuestion(
            id=number,
            text=question.text,
            keys=list(question.answers),
            meanings=list(question.answers.values()),
            picture=question.picture,
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message
