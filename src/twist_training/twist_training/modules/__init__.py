"""The networks: RSSM, encoders, heads and their distributions."""
