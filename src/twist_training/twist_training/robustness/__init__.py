"""How an exported checkpoint fares when the world differs from what it was trained in."""
