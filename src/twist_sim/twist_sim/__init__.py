"""Task cards, the MuJoCo scene, domain randomisation, environments and the robot twin."""
