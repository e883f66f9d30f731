"""What the policy believes and may do: markers for RViz and Foxglove, and a camera overlay."""
