"""The stages of the pipeline, each resumable and a command of its own."""
