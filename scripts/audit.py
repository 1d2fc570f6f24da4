"""The same as `segkit audit`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("audit")
