"""Launch tests are run by ``launch_test``; pytest alone would only fail to import them."""

collect_ignore_glob = ["*launch_test.py"]
