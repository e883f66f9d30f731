"""Teacher, collection, distillation, evaluation in simulation and export of a TWIST policy."""
