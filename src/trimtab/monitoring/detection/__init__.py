"""Parts of the detectors of a version: absolute rules, the choice of the reference windows, segments."""
