"""The pictures of the methods' pages, made again: `python docs/pictures.py [NAME...]`.

Those of maps are drawn by `_pictures/maps.py`, those of made images by `_pictures/imagined.py`. All show the bundled
networks on the bundled scenes, so that they can be made anywhere, in whichever framework is installed; some ten
minutes for all of them on one core.
"""

import sys

from _pictures import imagined, maps
from _pictures.drawing import save


def main() -> None:
    """Draw the pictures that are named, or all of them, and tell where they are."""
    drawn = maps.DRAWN | imagined.DRAWN
    for name in sys.argv[1:] or drawn:
        print(save(name, drawn[name]()))


if __name__ == "__main__":
    main()
