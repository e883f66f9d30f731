"""The losses: teacher world model, actor-critic, distillation."""
