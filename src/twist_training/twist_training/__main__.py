"""``python -m twist_training``, which ``torchrun -m`` needs."""

import sys

from twist_training.cli import main

sys.exit(main())
