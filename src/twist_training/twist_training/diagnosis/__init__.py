"""Why a student fails: the error of its belief against time, place, camera and look."""
