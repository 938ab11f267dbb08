"""What is drawn in the pictures of a display."""

import numpy as np


def drawn(display):
    """Whatever can go wrong in drawing is an error here."""
    display.figure_.canvas.draw()
    return display


def ends(intervals):
    """The lower and the upper ends of error bars."""
    x = np.array([segment[:, 0] for segment in intervals.get_segments()])
    y = np.array([segment[:, 1] for segment in intervals.get_segments()])
    return (x[:, 0], x[:, 1]) if (y[:, 0] == y[:, 1]).all() else (y[:, 0], y[:, 1])
