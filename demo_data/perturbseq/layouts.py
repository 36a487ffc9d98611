"""2-D layouts of every map of the demo, made ahead with the package itself: for display only.

Called by ``make.py``; alone it remakes the layouts of the files that are there::

    python demo_data/perturbseq/layouts.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from explorer.pictures import write_layouts

if __name__ == "__main__":
    write_layouts(Path(__file__).parent, progress=lambda line: sys.stderr.write(line + "\n"))
