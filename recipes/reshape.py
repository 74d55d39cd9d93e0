"""Another number of residual blocks in a trained model, as recipes/map-diff.sh needs it.

    python recipes/reshape.py MODEL.safetensors BLOCKS OUTPUT.safetensors

BLOCKS as 2,0,0, the finest resolution first. Added blocks begin as the identity; of those left out the
constant stays (networks/reshape.py), which is all that dead ones add (benchmarks/activity.py counts them).
"""

import sys
from dataclasses import replace
from pathlib import Path

from mapdiff.methods.model_file import load_model, save_model
from mapdiff.networks.reshape import with_blocks

if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    source, blocks, target = sys.argv[1:]
    model = load_model(Path(source))
    net = with_blocks(model.net, [int(n) for n in blocks.split(",")])
    save_model(replace(model, net=net), Path(target))
    print(target)
