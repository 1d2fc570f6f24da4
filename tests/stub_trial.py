"""What stands for a training run in test_trials and test_sweeps: quick, and it ends as it is told.

Its argument `do` says how. The config that it leaves is what the fixture `stub` composes.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def save(number, frame):
    Path(folder, "checkpoints").mkdir(exist_ok=True)
    Path(folder, "checkpoints", "000001-000000.npz").touch()
    sys.exit(143)


def finish():
    Path(folder, "checkpoints", "000001-000000.npz").unlink(missing_ok=True)
    Path(folder, "metrics.json").write_text('{"val": {"mean_iou": 0.25}}')
    Path(folder, "report.html").touch()


arguments = [argument for argument in sys.argv[2:] if "=" in argument]
given = dict(argument.lstrip("+").split("=", 1) for argument in arguments)
folder = given["output"][1:-1].replace('\\"', '"')
rest = sorted(argument for argument in arguments if not argument.startswith("output="))
Path(folder, "config.yaml").write_text(json.dumps({"output": folder, "given": rest}))
mended = Path(folder, "mended").exists()
do = "finish" if mended else given.get("do", "finish")
print("begins", flush=True)
if do == "fail":
    print("segkit train: There is no folder there.\nReceived: 'there'.", file=sys.stderr)
    sys.exit(1)
if do == "crash":
    raise RuntimeError("out of paper")
if do == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if do == "wait":
    signal.signal(signal.SIGTERM, save)
    Path(folder, "waiting").touch()
    time.sleep(60)
if do == "meet":  # ends well only beside another that waits likewise
    Path(folder, "here").touch()
    until = time.monotonic() + 20
    while len(list(Path(folder).parent.glob("*/here"))) < 2:
        if time.monotonic() > until:
            sys.exit("alone")
        time.sleep(0.02)
finish()
