"""``twist-train refine``: a trained behaviour learns more, without a new run.

It learns the reward that the task card has for a refinement, or the one that ``reward=`` asks for.
The teacher's world model stays as it is, frozen: what the world does has not changed. The episodes
of the run are judged again by the rules, the reward head learns what they say, and actor and critic
learn from it in imagination. That takes minutes where a new run takes hours.

With ``belief=student`` the behaviour also learns to bear what the student gets wrong. The imagined
world goes on from what the teacher knows of a stored instant, but the actor is shown what the
student makes of the picture of that instant: it is paid for what its actions do, not for what they
would do if the student were right.

A behaviour that acts otherwise leads to other pictures. With ``rounds`` the student acts in turn,
and is distilled with what it met, before the behaviour learns again.
"""
