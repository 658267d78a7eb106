"""One row per optimisation: where it lives, how to switch it off, what it promises.

`redline techniques` prints the table; docs/techniques.md holds it too, and a test compares the two. The rows
are in redline/catalogue/, by what they are about.
"""

from __future__ import annotations

from redline.catalogue.cache import CACHE
from redline.catalogue.decoding import DECODING
from redline.catalogue.formats import FORMATS
from redline.catalogue.kernels import KERNELS
from redline.catalogue.scheduling import SCHEDULING

TECHNIQUES = (*SCHEDULING, *CACHE, *KERNELS, *FORMATS, *DECODING)
