"""The camera: drivers' settings checked, our own driver, calibration, and the reference view."""
