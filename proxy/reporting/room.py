"""What is said of a report that is not taken because it does not fit."""

from enum import Enum

__all__ = ["Room"]


class Room(Enum):
    """Why none of a report was taken: there is not enough room now, or there never can be."""

    NONE_NOW = "none now"
    NONE_EVER = "none ever"
